"""A registered module, as it is shown to who may say in one line what it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from llmastool.mining.bundle import Bundle
from llmastool.registry.behaviour import Behaviour, descriptors
from llmastool.registry.record import Probe
from llmastool.registry.unbuilt import source_of


@dataclass(frozen=True, kw_only=True)
class Undescribed:
    """What is known of a module that runs."""

    module: str
    """Its id."""
    name: str
    """Qualified name."""
    family: str
    behaviour: tuple[str, ...]
    """What it was seen to do, in words."""
    source: str
    """Source text, its own class first: untrusted."""

    @staticmethod
    def of(probe: Probe, bundle: Bundle) -> Undescribed:
        """Return what is shown of a module."""
        seen = probe.behaviour
        words = descriptors(probe.contracts[0], Behaviour(**seen)) if seen and probe.contracts else ()
        return Undescribed(
            module=probe.module, name=bundle.name, family=probe.family, behaviour=words, source=source_of(bundle)
        )


class Describes(Protocol):
    """Knows what modules do."""

    @property
    def name(self) -> str:
        """Who that is: the name of a model."""

    def describe(self, modules: Sequence[Undescribed]) -> Mapping[str, str]:
        """Return one line each, by module id; modules of which nothing is known are left out."""
