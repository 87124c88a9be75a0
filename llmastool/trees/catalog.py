"""The catalog: from the module ids of a tree to classes, and back. Loading a mined class runs registered code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from llmastool.canonical import Json
from llmastool.errors import RegistryError
from llmastool.mining.bundle import Bundle
from llmastool.recent import Recent
from llmastool.registry.store import Registry
from llmastool.registry.values import Resolver

if TYPE_CHECKING:
    from llmastool.registry.capture import Captured

_MOST_PARTS = 32768
_MOST_BASES = 32


class Catalog:
    """All modules that trees may be made of: those of torch, our own blocks, and a registry's."""

    def __init__(self, registry: Registry | None = None) -> None:
        self.registry = registry
        self.bundles: Mapping[str, Bundle] = registry.bundles if registry is not None else {}
        self._resolver = Resolver(self.bundles)
        self._classes: dict[str, type[nn.Module]] = {}
        self.parts: Recent[tuple[Any, ...], Any] = Recent(_MOST_PARTS)
        """What was seen of subtrees, by their id and what comes in, and of modules within (`llmastool.trees.scene`)."""
        self.bases: Recent[str, tuple[nn.Module, Captured]] = Recent(_MOST_BASES)
        """What constructors made, by the id of a tree without children; see `llmastool.trees.borrow`."""

    @staticmethod
    def open(folder: Path | None) -> Catalog:
        """Return the catalog over a registry's folder; without one, over torch and our own blocks.

        Raises:
            RegistryError: the folder holds no registry.
        """
        return Catalog(Registry.open(folder) if folder is not None else None)

    def find(self, module: str) -> type[nn.Module]:
        """Return the class of a module id.

        Raises:
            RegistryError: no such module, or it is no class of modules.
        """
        if module not in self._classes:
            found = self._resolver.find(module)
            if not (isinstance(found, type) and issubclass(found, nn.Module)):
                raise RegistryError(f"{module}: expected a class of torch.nn.Module, found {type(found).__name__}")
            self._classes[module] = found
        return self._classes[module]

    def load(self, ref: str) -> None:
        """Make sure that what a module id or a reference in an argument names is loaded.

        Raises:
            RegistryError: there is nothing of that name.
        """
        self._resolver.find(ref)

    def name(self, cls: type) -> str | None:
        """Return the module id of a class, or None when the catalog has none for it."""
        return self._resolver.name(cls)

    def by_name(self, name: str) -> str:
        """Return the id of the mined module with a qualified name.

        Raises:
            RegistryError: there is none.
        """
        found = next((b.id for b in self.bundles.values() if b.name == name), None)
        if found is not None:
            return found
        if name.startswith(("torch.", "llmastool.")):
            return name
        raise RegistryError(f"{name}: expected the qualified name of a mined class; the registry has none of that name")

    def family(self, module: str) -> str:
        """Return a module's family; `unknown` when it is not registered."""
        return self.registry.family(module) if self.registry is not None else "unknown"

    def behaviour(self, module: str) -> tuple[str, ...]:
        """Return what a module does, in words; nothing when it is not registered."""
        return self.registry.behaviour(module) if self.registry is not None else ()

    def decode(self, value: Json, module: str, build: Callable[[Json], nn.Module]) -> Any:
        """Return the Python value of an argument of `module`; `build` makes the modules among arguments."""
        return self._resolver.decode(value, self.bundles.get(module.partition(":")[0]), build)

    def encode(self, value: Any, module: str, read: Callable[[nn.Module], Json]) -> Json:
        """Return the JSON form of an argument of `module`; `read` writes modules down.

        Raises:
            TypeError: it has none.
        """
        return self._resolver.encode(value, read, self.bundles.get(module.partition(":")[0]))
