"""The sources that are measured, each at one release, and where they lie."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from llmastool.mining.fetch import fetch
from llmastool.mining.sources import SourceSpec

THREE = (
    SourceSpec(kind="pypi", name="timm", version="1.0.31"),
    SourceSpec(kind="installed", name="torchvision"),
    SourceSpec(kind="pypi", name="vit-pytorch", version="1.26.11"),
)
"""The sources that are set against NN-RAG and against a plain import."""

OTHERS = (
    SourceSpec(kind="pypi", name="pytorchcv", version="0.0.74"),
    SourceSpec(kind="pypi", name="x-transformers", version="2.31.10"),
    SourceSpec(kind="pypi", name="segmentation-models-pytorch", version="0.6.0"),
    SourceSpec(kind="pypi", name="kornia", version="0.9.0"),
    SourceSpec(kind="pypi", name="monai", version="1.6.1"),
    SourceSpec(kind="pypi", name="efficientnet-pytorch", version="0.7.1"),
    SourceSpec(kind="pypi", name="lightly", version="1.6.0"),
    SourceSpec(kind="pypi", name="ultralytics", version="8.4.190"),
)

EINOPS = (SourceSpec(kind="pypi", name="einops", version="0.8.2"),)
"""By itself: many of the others import it, and a source is blocked while it is registered."""

UNTUNED = (
    SourceSpec(kind="pypi", name="open-clip-torch", version="3.3.0"),
    SourceSpec(kind="pypi", name="denoising-diffusion-pytorch", version="2.3.4"),
    SourceSpec(kind="pypi", name="speechbrain", version="1.1.2"),
)
"""Sources that nobody looked at while mining was built. Their figures are counts only, so that it stays so."""


@dataclass(frozen=True)
class Place:
    """One source on this machine."""

    spec: SourceSpec
    """With its `path` filled in where it was fetched."""
    files: tuple[tuple[str, Path], ...]
    """Dotted module name and path of every Python file."""
    importable: Path
    """Folder from which its packages can be imported."""

    @property
    def packages(self) -> set[str]:
        """Names of its top-level packages."""
        return {module.split(".")[0] for module, _ in self.files}


def place(spec: SourceSpec, folder: Path) -> Place:
    """Return where a source is, fetched into `folder` if it has to be."""
    spec = fetch(spec, folder)
    if spec.kind == "installed":
        found = importlib.util.find_spec(spec.name)
        assert found is not None and found.submodule_search_locations is not None
        root = Path(next(iter(found.submodule_search_locations)))
        return Place(spec, _files(root, root.parent), root.parent)
    root = Path(spec.path, "files")
    return Place(spec, _files(root, root), root)


def _files(root: Path, importable: Path) -> tuple[tuple[str, Path], ...]:
    paths = sorted(root.rglob("*.py"))
    names = [".".join(p.relative_to(importable).with_suffix("").parts).removesuffix(".__init__") for p in paths]
    return tuple(zip(names, paths, strict=True))
