"""Modules that are the same: word for word, in structure, or in what they compute."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence

from llmastool.canonical import Json
from llmastool.mining.bundle import Bundle
from llmastool.mining.structure import exact, structure
from llmastool.registry.record import Duplicate, Kind, Probe


def duplicates(probes: Sequence[Probe], bundles: Mapping[str, Bundle]) -> dict[str, Duplicate]:
    """Return the registered modules that others stand for.

    Of several that are the same, a module of PyTorch stands for all, else the one that can be varied most, else the
    one with the shortest slice.

    Args:
        probes: results of probing; only those that passed count.
        bundles: the mined modules by id. A module without a bundle is one of PyTorch or of this project.
    """
    passed = {p.module: p for p in probes if p.stage == "ok"}
    mined = [m for m in passed if m in bundles]
    by_text = {m: exact(bundles[m]) for m in mined}
    by_structure = {m: structure(bundles[m]) for m in mined}
    groups = _Groups(passed)
    for hashes in (by_text, by_structure):
        for alike in _by_value(hashes):
            groups.join(alike)
    for alike in _by_function(list(passed.values())):
        groups.join(alike)
    found: dict[str, Duplicate] = {}
    for members in groups.all():
        first, *rest = sorted(members, key=lambda m: _rank(passed[m], bundles.get(m)))
        for module in rest:
            kind: Kind = "behavioural"
            if first in by_text and module in by_text:
                if by_text[first] == by_text[module]:
                    kind = "exact"
                elif by_structure[first] == by_structure[module]:
                    kind = "structural"
            found[module] = Duplicate(of=first, kind=kind)
    return found


def same(one: Json, other: Json) -> bool:
    """Return whether two fingerprints (`llmastool.registry.fingerprint`) speak for the same function."""
    if not one or not other or one["key"] != other["key"]:
        return False
    pairs = zip(one["values"], other["values"], strict=True)
    return all(math.isclose(a, b, rel_tol=1e-3, abs_tol=1e-4) for a, b in pairs)


def _rank(probe: Probe, bundle: Bundle | None) -> tuple[bool, int, int, str]:
    varied = sum(len(c.free) + len(c.in_args) + len(c.out_args) + c.any_channels for c in probe.contracts)
    length = sum(len(f.text) for f in bundle.files) if bundle is not None else 0
    return bundle is not None, -varied, length, probe.module


def _by_value(hashes: Mapping[str, Hashable]) -> Iterable[list[str]]:
    found: dict[Hashable, list[str]] = {}
    for module, value in hashes.items():
        found.setdefault(value, []).append(module)
    return found.values()


def _by_function(probes: Sequence[Probe]) -> Iterable[list[str]]:
    keyed: dict[str, list[Probe]] = {}
    for probe in probes:
        if probe.fingerprint:
            keyed.setdefault(probe.fingerprint["key"], []).append(probe)
    for alike in keyed.values():
        left = alike
        while left:
            equal = [p for p in left if same(left[0].fingerprint, p.fingerprint)]
            yield [p.module for p in equal]
            left = [p for p in left if p not in equal]


class _Groups:
    """Sets of modules that are the same, joined as that is found."""

    def __init__(self, modules: Iterable[str]) -> None:
        self._group = {m: [m] for m in modules}

    def join(self, modules: Sequence[str]) -> None:
        first = self._group[modules[0]]
        for module in modules[1:]:
            other = self._group[module]
            if other is not first:
                first += other
                self._group.update(dict.fromkeys(other, first))

    def all(self) -> list[list[str]]:
        return list({id(g): g for g in self._group.values()}.values())
