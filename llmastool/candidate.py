"""A candidate: a tree, and how the search came to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llmastool.canonical import Json
from llmastool.trees.tree import Tree


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What the search proposes and training evaluates."""

    tree: Tree
    """The network."""
    round: int
    """Round in which it was proposed; 0 is the start population."""
    index: int
    """Its place within the round, from 0."""
    parent: str | None
    """Id of the tree it was made from; None in the start population, and for a network drawn anew."""
    change: str
    """What was done to the parent, in one line for a reader; in the start population, the network's name; of a network
    drawn anew, what it was drawn from."""
    plan: Mapping[str, Json] | None
    """`Plan.to_json()`; None in the start population."""
    fill: Mapping[str, Json] | None
    """`Fill.to_json()`; None where nothing was left open."""

    @property
    def id(self) -> str:
        """Id of the tree."""
        return self.tree.id

    @property
    def name(self) -> str:
        """Name for pages and files, e.g. `r02-05-3f2a9c1d`."""
        return f"r{self.round:02d}-{self.index:02d}-{self.id[:8]}"

    def to_json(self) -> Json:
        """Return a JSON value that `from_json` reads back."""
        fields = {k: getattr(self, k) for k in ("round", "index", "parent", "change", "plan", "fill")}
        return {"id": self.id, "tree": self.tree.to_json(), **fields}

    @staticmethod
    def from_json(value: Json) -> Candidate:
        """Read what `to_json` wrote."""
        fields = {k: v for k, v in value.items() if k not in ("id", "tree")}
        return Candidate(tree=Tree.from_json(value["tree"]), **fields)
