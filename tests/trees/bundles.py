"""Bundles made by hand: a dict of sources, cut into top-level statements as the miner does."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from textwrap import dedent

from llmastool.mining.bundle import Bundle, SlicedFile, SourcePin


def make_bundle(files: Mapping[str, str], name: str = "pkg.net.Net", digest: str = "d1") -> Bundle:
    """Return a bundle of `files`, source by module name; one that ends in `.__init__` is a package."""
    sliced = []
    for module, text in sorted(files.items()):
        source = dedent(text).strip("\n")
        plain = module.removesuffix(".__init__")
        lines = source.split("\n")
        statements = []
        for node in ast.parse(source).body:
            first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
            statements.append((first, "\n".join(lines[first - 1 : node.end_lineno])))
        sliced.append(SlicedFile(name=plain, package=plain != module, statements=tuple(statements)))
    pin = SourcePin(kind="path", name="pkg", version="1.0", digest=digest, licence="MIT")
    module = name.rpartition(".")[0]
    return Bundle(
        name=name, module=module, source=pin, path="net.py", lines=(1, 9), files=tuple(sliced), third_party=("torch",)
    )
