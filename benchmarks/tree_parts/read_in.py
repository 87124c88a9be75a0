"""The judge of reading in: networks of other packages, made by those packages, as trees of what was mined of them."""

from __future__ import annotations

import contextlib
import importlib
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.mining_parts.forked import Tell, Work
from llmastool.canonical import Json
from llmastool.errors import LLMasToolError
from llmastool.mining.bundle import Bundle, read_bundles
from llmastool.registry.store import Registry
from llmastool.trees.agree import same_function, take_state
from llmastool.trees.build import build
from llmastool.trees.catalog import Catalog
from llmastool.trees.read import read_from
from llmastool.trees.tree import Tree

_SIZING_SECONDS = 60.0
"""Time for finding the smallest network of a family."""


def prepare(request: Json) -> tuple[Sequence[Json], Work]:
    """Read the bundles, and make the original packages importable.

    Args:
        request: `bundles`, a file; `paths`, from which the packages can be imported; `items`, each with a `package` and
            the `names` of its networks, of which the smallest is judged.
    """
    bundles = originals(request)

    def work(item: Json, tell: Tell) -> None:
        name, size = _smallest(item)
        tell({"network": name, "parameters": size})
        _judge(maker(item["package"], name), Catalog(Registry([], bundles)), tell)

    return request["items"], work


def originals(request: Json) -> dict[str, Bundle]:
    """Make the original packages importable, and return what was mined of them."""
    sys.path[:0] = request["paths"]
    for name in ("torchvision", "timm"):
        importlib.import_module(name)
    return {b.id: b for b in read_bundles(Path(request["bundles"]))}


def networks(package: str) -> dict[str, list[str]]:
    """Return the names of a package's classification networks, by family."""
    found: dict[str, list[str]] = {}
    if package == "torchvision":
        models = importlib.import_module("torchvision.models")
        for name in models.list_models(module=models):
            family = models.get_model_builder(name).__module__.rpartition(".")[2]
            found.setdefault(family, []).append(name)
        return found
    timm = importlib.import_module("timm")
    for name in timm.list_models():
        family = importlib.import_module("timm.models").model_entrypoint(name).__module__.rpartition(".")[2]
        found.setdefault(family, []).append(name)
    return found


def maker(package: str, name: str, **options: int) -> Callable[[], nn.Module]:
    """Return what makes a network of a package."""
    if package == "torchvision":
        models = importlib.import_module("torchvision.models")
        slow = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        return lambda: models.get_model(name, weights=None, **slow, **options)
    timm = importlib.import_module("timm")
    return lambda: timm.create_model(name, pretrained=False, **options)


def _smallest(item: Json) -> tuple[str, int]:
    """Return the network of a family with the fewest parameters, as far as the time goes."""
    sizes: dict[str, int] = {}
    end = time.monotonic() + _SIZING_SECONDS
    for name in sorted(item["names"], key=lambda n: (len(n), n)):
        if time.monotonic() > end:
            break
        with contextlib.suppress(Exception), torch.device("meta"):  # then it is not the one that is read
            sizes[name] = sum(p.numel() for p in maker(item["package"], name)().parameters())
    if not sizes:
        return item["names"][0], 0
    name = min(sizes, key=lambda n: (sizes[n], n))
    return name, sizes[name]


def _image(net: nn.Module) -> torch.Tensor:
    shape: Any = getattr(net, "default_cfg", {}).get("input_size", (3, 224, 224))
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))


def _judge(make: Callable[[], nn.Module], catalog: Catalog, tell: Tell) -> None:
    try:
        torch.manual_seed(0)
        started = time.process_time()
        net, tree = read_from(make, catalog)
        tell({"passed": "read", "seconds": time.process_time() - started, "nodes": sum(1 for _ in tree.walk())})
    except LLMasToolError as error:
        tell({"fell": "read", "message": str(error)[:300]})
        return
    try:
        again = Tree.from_json(tree.to_json())
        built = build(again, catalog)
        take_state(built, net)
        equal = same_function(net, built, _image(net))
    except Exception as error:  # noqa: BLE001 - foreign code may raise anything
        tell({"fell": "equal", "message": f"{type(error).__name__}: {error}"[:300]})
        return
    tell({"passed": "equal"} if equal else {"fell": "equal", "message": "other outputs"})
