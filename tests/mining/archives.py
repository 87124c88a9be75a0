"""Distributions that tests make themselves, and pip told to look for them and nowhere else."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

MODULE = "from torch import nn\nclass A(nn.Module):\n    def forward(self, x): return x\n"

METADATA = """Metadata-Version: 2.1
Name: my-blocks
Version: {version}
License: MIT License
Description-Content-Type: text/markdown

# Blocks
How to use them.
"""


def wheel(folder: Path, files: Mapping[str, str], version: str = "1.0", top: str = "my_blocks\n") -> Path:
    """Write `my_blocks-VERSION-py3-none-any.whl`."""
    info = f"my_blocks-{version}.dist-info"
    path = folder / f"my_blocks-{version}-py3-none-any.whl"
    about = {"METADATA": METADATA.format(version=version), "top_level.txt": top, "RECORD": ""}
    about["WHEEL"] = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**files, **{f"{info}/{k}": v for k, v in about.items() if v or k == "RECORD"}}.items():
            archive.writestr(name, content)
    return path


def sdist(folder: Path, files: Mapping[str, str], version: str = "1.0", links: Mapping[str, str] | None = None) -> Path:
    """Write `my-blocks-VERSION.tar.gz`."""
    path = folder / f"my-blocks-{version}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in {"PKG-INFO": METADATA.format(version=version), **files}.items():
            info = tarfile.TarInfo(f"my-blocks-{version}/{name}")
            info.size = len(content.encode())
            archive.addfile(info, io.BytesIO(content.encode()))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(f"my-blocks-{version}/{name}")
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all that pip can find."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder
