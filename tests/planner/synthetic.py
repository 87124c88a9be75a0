"""Networks made up of blocks, as profiles, and a landscape of accuracies over them: what the planner is tried on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llmastool import seeds
from llmastool.canonical import Json
from llmastool.planner.archive import dominant_family
from llmastool.planner.hyper import Evidence
from llmastool.planner.kernels import KERNELS, Kernel, covariances
from llmastool.planner.plan import FRESH, Option, Record
from llmastool.planner.space import FeatureSpace
from llmastool.planner.table import Floats, Table
from llmastool.planner.warp import Warp
from llmastool.trees.flow import Flow
from llmastool.trees.profile import Profile, Slot

FAMILIES = ("attention", "convolution", "depthwise", "mixer", "pooling", "recurrent")
COST = {"attention": 40, "convolution": 90, "depthwise": 12, "mixer": 50, "pooling": 0, "recurrent": 60}
WORTH = {"attention": 1.5, "convolution": 2.5, "depthwise": 3.5, "mixer": 0.5, "pooling": -1.0, "recurrent": -2.5}
BLOCKS = 6

_SHARED = Table()


REACHING = ("attention", "mixer", "recurrent")
"""Families of modules that reach all positions."""


@dataclass(frozen=True)
class Network:
    """A chain of blocks; the second half works at half the resolution."""

    families: tuple[str, ...]
    widths: tuple[int, ...]
    """Multiplier of every block's cost, 1 to 4."""

    @property
    def id(self) -> str:
        return "-".join(f"{f[:2]}{w}" for f, w in zip(self.families, self.widths, strict=True))

    def profile(self) -> Profile:
        slots = []
        for i, (family, width) in enumerate(zip(self.families, self.widths, strict=True)):
            stage = 2 * i // len(self.families)
            side = 16 >> stage
            shape = (2, 16 * width, side, side)
            parameters = 100 * COST[family] * width**2
            slots.append(slot(f"body.{i}", family, shape, parameters, stage))
        parameters = sum(s.parameters for s in slots)
        flops = sum(s.flops for s in slots)
        root = Slot(
            path="",
            module="net",
            family="network",
            args={},
            in_shape=(2, 3, 16, 16),
            out_shape=(2, 10),
            layout="NCHW",
            calls=1,
            parameters=parameters,
            flops=flops,
            stage=0,
            leaf=False,
        )
        return Profile(
            slots=(root, *slots),
            in_shape=(2, 3, 16, 16),
            out_shape=(2, 10),
            parameters=parameters,
            flops=flops,
            depth=sum(s.parameters > 0 for s in slots),
            flow=Flow(tuple(range(1, BLOCKS + 1)), tuple((i, i + 1) for i in range(-1, BLOCKS))),
        )

    def accuracy(self) -> float:
        """Percent, free of noise: families, a best size in the middle, and who follows whom."""
        size = np.log10(1 + self.profile().parameters)
        pairs = sum(
            a == "depthwise" and b == "attention" for a, b in zip(self.families, self.families[1:], strict=False)
        )
        late = sum(f == "attention" for f in self.families[BLOCKS // 2 :])
        return float(60 + sum(WORTH[f] for f in self.families) + 1.5 * pairs + late - 6 * (size - 4.8) ** 2)

    def neighbours(self) -> Iterator[tuple[int, str, str, Network]]:
        """Yield every child one edit away: block, kind of edit, family that comes in, child."""
        for i in range(BLOCKS):
            for family in FAMILIES:
                if family != self.families[i]:
                    yield i, "replace", family, Network(_put(self.families, i, family), self.widths)
            for width in {max(1, self.widths[i] - 1), min(4, self.widths[i] + 1)} - {self.widths[i]}:
                kind = "widen" if width > self.widths[i] else "narrow"
                yield i, kind, self.families[i], Network(self.families, _put(self.widths, i, width))


def slot(path: str, family: str, shape: tuple[int, ...], parameters: int, stage: int = 0, calls: int = 1) -> Slot:
    """A leaf slot on an image map."""
    return Slot(
        path=path,
        module=f"m.{family}",
        family=family,
        args={},
        in_shape=shape,
        out_shape=shape,
        layout="NCHW",
        calls=calls,
        parameters=parameters,
        flops=parameters * shape[2] * shape[3],
        stage=stage,
        leaf=True,
        behaviour=("weights" if parameters else "no weights", "reaches all" if family in REACHING else "reaches near"),
    )


def draw(count: int, seed: int) -> list[Network]:
    """Draw distinct networks at random."""
    rng = seeds.generator(seed, "synthetic", count)
    found: dict[str, Network] = {}
    while len(found) < count:
        families = tuple(str(f) for f in rng.choice(FAMILIES, BLOCKS))
        network = Network(families, tuple(int(w) for w in rng.integers(1, 5, BLOCKS)))
        found[network.id] = network
    return list(found.values())


def measure(networks: Sequence[Network], seed: int, noise: float = 0.3) -> list[float]:
    """Return noisy accuracies in percent; the noise depends on the seed and the network alone."""
    return [n.accuracy() + noise * float(seeds.generator(seed, n.id).normal()) for n in networks]


def record(network: Network, accuracy: float | None, plan: Mapping[str, Json] | None = None) -> Record:
    return Record(tree=network.id, profile=network.profile(), accuracy=accuracy, plan=plan)


def values(networks: Sequence[Network], table: Table | None = None) -> dict[str, Floats]:
    """Return the features of some networks; all calls without a table of their own share columns."""
    table = table or _SHARED
    return table.values(table.add((n.id, n.profile()) for n in networks))


def evidence(networks: Sequence[Network], accuracies: Sequence[float], kernels: Sequence[Kernel] = KERNELS) -> Evidence:
    """Return what some networks and their accuracies say."""
    return Evidence.of(among(networks, kernels), Warp.fit(accuracies).apply(accuracies))


def among(networks: Sequence[Network], kernels: Sequence[Kernel] = KERNELS) -> Floats:
    """Return the covariance of every kernel at scale 1 between some networks, scaled by themselves."""
    seen = values(networks, Table())
    coordinates = FeatureSpace.fit(seen).transform(seen)
    return covariances(kernels, coordinates, coordinates, 1.0)


def options(parents: Sequence[Network], known: set[str]) -> tuple[list[Option], dict[str, Network]]:
    """Return the edits of some parents that lead to networks not yet known, and the child behind every key."""
    found: dict[str, Option] = {}
    children: dict[str, Network] = {}
    for parent in parents:
        for i, kind, family, child in parent.neighbours():
            if child.id not in known:
                option = _edit(parent, i, kind, family, child)
                found[option.key], children[option.key] = option, child
    return list(found.values()), children


def doubles(parent: Network) -> list[Option]:
    """Return the pairs of edits of one parent, in both orders where the second does not depend on the first."""
    return [
        _edit(parent, j, kind, family, child, after=f"body.{i}/{first}/{to}")
        for i, first, to, between in parent.neighbours()
        for j, kind, family, child in between.neighbours()
        if child != parent
    ]


def fresh(networks: Sequence[Network]) -> list[Option]:
    """Return networks drawn anew as options."""
    return [
        Option(parent="", slot="", kind=FRESH, family=dominant_family(n.profile()), profile=n.profile(), tree=n.id)
        for n in networks
    ]


def _edit(parent: Network, block: int, kind: str, family: str, child: Network, after: str = "") -> Option:
    return Option(
        parent=parent.id,
        slot=f"body.{block}",
        kind=kind,
        family=family,
        profile=child.profile(),
        tree=child.id,
        after=after,
    )


def rank_correlation(a: Sequence[float] | Floats, b: Sequence[float] | Floats) -> float:
    """Spearman's rank correlation of values without ties."""
    ranks = [np.argsort(np.argsort(values)).astype(np.float64) for values in (a, b)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _put(values: tuple, index: int, value: object) -> tuple:
    return (*values[:index], value, *values[index + 1 :])
