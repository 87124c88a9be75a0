"""What was seen of modules while other code of their source ran; `llmastool.registry.sightings` sees it."""

from __future__ import annotations

from dataclasses import dataclass

from llmastool.canonical import Json


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """A constructor call of a class that was seen while other code of its source ran."""

    args: dict[str, Json]
    calls: tuple[Json, ...]
    """What the module was called with then: tensors by shape and type."""
    origin: str
    """Where it was seen, in words: `seen in timm.models.resnet.resnet18`."""

    def to_json(self) -> Json:
        """Return a JSON value that `from_json` reads back."""
        return {"args": self.args, "calls": list(self.calls), "origin": self.origin}

    @staticmethod
    def from_json(value: Json) -> Sighting:
        """Read what `to_json` wrote."""
        return Sighting(args=value["args"], calls=tuple(value["calls"]), origin=value["origin"])


Seen = dict[str, list[Sighting]]
"""Sightings by the dotted name of the class."""


def merge(known: Seen, more: Seen, most: int = 8) -> None:
    """Add sightings to those that are known already, none twice, up to `most` for a class."""
    for name, found in more.items():
        have = known.setdefault(name, [])
        for sighting in found:
            if len(have) < most and all(sighting.args != s.args for s in have):
                have.append(sighting)


def to_json(seen: Seen) -> Json:
    """Return sightings as a JSON value that `from_json` reads back."""
    return {name: [s.to_json() for s in found] for name, found in seen.items()}


def from_json(value: Json) -> Seen:
    """Read what `to_json` wrote."""
    return {name: [Sighting.from_json(s) for s in found] for name, found in value.items()}
