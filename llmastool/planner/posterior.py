"""What the search believes of networks, given those that were trained: means, spreads and expected improvements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from llmastool.errors import LLMasToolError
from llmastool.planner import model
from llmastool.planner.archive import is_usable
from llmastool.planner.config import PosteriorConfig
from llmastool.planner.hyper import Evidence
from llmastool.planner.kernels import RUNG, by_name, covariances, select
from llmastool.planner.model import Diagnostics, Draws, sample
from llmastool.planner.pool import Pool, Trained
from llmastool.planner.space import FeatureSpace
from llmastool.planner.table import Floats, Values
from llmastool.planner.warp import Warp


@dataclass(frozen=True)
class Posterior:
    """A mixture of Gaussians over the warped accuracy of any network, one component for every kept draw."""

    space: FeatureSpace
    warp: Warp
    trained: Trained
    y: Floats
    """Warped accuracies of the networks that were fitted, in the order of `trained.coordinates`."""
    values: Values
    """Their features, in the same order."""
    diagnostics: Diagnostics

    @cached_property
    def seen(self) -> Pool:
        """The networks that were fitted and trained to the end."""
        coordinates = self.trained.coordinates
        if "rung" in coordinates:
            ended = np.flatnonzero(coordinates["rung"][:, 0] == 0)
            coordinates = {group: values[ended] for group, values in coordinates.items()}
        return Pool.of(self.trained, coordinates)

    @cached_property
    def best(self) -> float:
        """Largest posterior mean among the networks seen, in warped units: the incumbent, its luck taken out."""
        return float(self.seen.mean.max())

    def pool(self, networks: Values) -> Pool:
        """Predict some networks jointly, as they would be trained to the end."""
        coordinates = self.space.transform(networks)
        if "rung" in self.trained.coordinates:
            coordinates["rung"] = np.zeros((len(coordinates["cost"]), 1))
        return Pool.of(self.trained, coordinates)

    def predict(self, networks: Values) -> tuple[Floats, Floats]:
        """Return mean and standard deviation of the accuracies that would be observed, in warped units.

        Noise is included. Both have shape `(networks,)`, and are averaged over the kept draws.
        """
        pool = self.pool(networks)
        return pool.mean, pool.spread

    def accuracy(self, networks: Values) -> tuple[Floats, Floats]:
        """Return `predict` in percent: mean and standard deviation, by `Warp.points`."""
        return self.warp.points(*self.predict(networks))

    def gain(self, networks: Values, accuracies: Floats | Sequence[float]) -> Floats:
        """Return the expected accuracies minus `accuracies` (of the parents, in percent), in percentage points."""
        return self.accuracy(networks)[0] - np.asarray(accuracies, dtype=np.float64)

    def expected_improvement(self, networks: Values, best: float | None = None) -> Floats:
        """Return how far each network is expected to exceed `best`, in warped units, 0 or more.

        Args:
            networks: the networks to judge.
            best: what to exceed, in warped units; None means `self.best`.
        """
        return self.pool(networks).expected_improvement(self.best if best is None else best)


def prepare(config: PosteriorConfig, *, rungs: bool) -> None:
    """Begin what every fit needs first, beside what this process does: it takes some 10 to 30 s, once in a process.

    Args:
        config: how the posterior is computed.
        rungs: whether trainings are stopped early.
    """
    kernels = select(costs=config.costs, functions=config.functions)
    model.prepare(len(kernels) + (2 if rungs else 1), config)


def fit(
    networks: Values,
    accuracies: Sequence[float] | Floats,
    *,
    seed: int,
    config: PosteriorConfig | None = None,
    rungs: Sequence[float] | None = None,
) -> Posterior:
    """Fit the posterior to networks and their validation accuracies.

    An accuracy that is no use (`archive.is_usable`) is left out, and so are some of more than `config.most` networks;
    `Diagnostics.refused` says so.

    Args:
        networks: the features of the networks, 2 usable ones or more. One that was trained several times stands there
            several times, and its accuracies tell the noise.
        accuracies: their validation accuracies in percent.
        seed: the same seed gives the same posterior, bit for bit.
        config: how it is computed; None takes the defaults.
        rungs: where in its training each accuracy was seen (`llmastool.planner.rungs`), 0 at the end; None for all at
            the end.

    Raises:
        LLMasToolError: fewer than 2 networks have a usable accuracy.
    """
    config = config or PosteriorConfig()
    values = np.asarray(accuracies, dtype=np.float64)
    usable = np.array([i for i, value in enumerate(values.tolist()) if is_usable(value)], dtype=np.intp)
    if len(usable) < 2:
        raise LLMasToolError(
            f"posterior: expected 2 or more networks with an accuracy from -100 to 100, got {len(usable)} "
            f"of {len(values)}; evaluate more candidates first"
        )
    refused = _refused(values, usable)
    if len(usable) > config.most:
        refused = f"{refused}{'; ' if refused else ''}{len(usable) - config.most} of {len(usable)}, over posterior.most"
        usable = usable[_chosen(values[usable], config.most)]
    seen = {group: matrix[usable] for group, matrix in networks.items()}
    space = FeatureSpace.fit(seen)
    coordinates = space.transform(seen)
    warp = Warp.fit(values[usable])
    y = warp.apply(values[usable])
    kernels = select(costs=config.costs, functions=config.functions)
    if rungs is not None and any(rungs):
        coordinates["rung"] = np.asarray(rungs, dtype=np.float64)[usable][:, None]
        kernels = (*kernels, RUNG)
    among = covariances(kernels, coordinates, coordinates, config.length)
    draws, diagnostics = sample(Evidence.of(among, y), seed=seed, config=config)
    medians = np.median(draws.scales, axis=0).tolist()
    diagnostics = replace(
        diagnostics,
        observations=len(y),
        scales={**by_name(kernels, medians), "noise": float(np.median(draws.noise))},
        refused=refused,
    )
    kept = np.linspace(0, len(draws.noise) - 1, config.thinned).round().astype(int)
    draws = Draws(draws.scales[kept], draws.noise[kept])
    trained = Trained.fit(kernels, config.length, coordinates, among, y, draws)
    return Posterior(space, warp, trained, y, seen, diagnostics)


def _refused(values: Floats, usable: NDArray[np.intp]) -> str:
    left_out = [f"{value:g}" for i, value in enumerate(values) if i not in set(usable.tolist())]
    if not left_out:
        return ""
    return f"{len(left_out)} of {len(values)} accuracies, not from -100 to 100: {', '.join(left_out[:5])}"


def _chosen(values: Floats, most: int) -> NDArray[np.intp]:
    """Return the positions of the better half of `most`, and of as many others at even steps of rank, in order."""
    ranked = np.argsort(-values, kind="stable")
    better, others = ranked[: most // 2], ranked[most // 2 :]
    even = others[np.linspace(0, len(others) - 1, most - len(better)).round().astype(int)]
    return np.sort(np.concatenate([better, even]))
