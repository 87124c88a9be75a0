"""A module that fell, as it is shown to who may know arguments for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from llmastool.canonical import Json
from llmastool.mining.bundle import Bundle
from llmastool.registry.record import Probe


@dataclass(frozen=True, kw_only=True)
class Unbuilt:
    """What is known of a module that could not be built, or did not run."""

    module: str
    """Its id."""
    name: str
    """Qualified name."""
    parameters: tuple[str, ...]
    """Names of the constructor's parameters."""
    source: str
    """Source text of the class and of what else lies in its file's slice: untrusted."""
    error: str
    """Why it fell."""

    @staticmethod
    def of(probe: Probe, bundle: Bundle) -> Unbuilt:
        """Return what is shown of a module: its own class first, then the rest of its file."""
        return Unbuilt(
            module=probe.module,
            name=bundle.name,
            parameters=tuple(p.name for p in bundle.signature if not p.kind.startswith("var_")),
            source=source_of(bundle),
            error=probe.message,
        )


def source_of(bundle: Bundle) -> str:
    """Return the source text of a module: its own class first, then the rest of its file's slice."""
    (file,) = (f for f in bundle.files if f.name == bundle.module)
    first = bundle.lines[0]
    return "\n\n".join(text for _, text in sorted(file.statements, key=lambda s: (abs(s[0] - first), s[0])))


class Proposes(Protocol):
    """Knows arguments for modules that fell."""

    @property
    def name(self) -> str:
        """Who that is: the name of a model."""

    def propose(self, modules: Sequence[Unbuilt]) -> Sequence[Mapping[str, Json] | None]:
        """Return arguments for modules, in order, None where there are none."""
