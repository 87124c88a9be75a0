"""Write a tree out as one plain PyTorch file that runs with nothing of this project installed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from llmastool.canonical import Json, dumps
from llmastool.errors import RegistryError
from llmastool.mining.bundle import Bundle
from llmastool.trees.construction import OUT_OF_PLACE, REVIVE, Construction
from llmastool.trees.flatten import flatten, import_line
from llmastool.trees.helpers import HELPER_SOURCES
from llmastool.trees.layout import WIDTH, Group, render
from llmastool.trees.naming import Outside, Own, Symbol
from llmastool.trees.provenance import BLOCKS, blocks_bundle, header
from llmastool.trees.tree import SAME, Tree, from_body
from llmastool.trees.units import Unit, merge

_TORCH, _NN = Outside("torch", "", "torch"), Outside("torch.nn", "", "nn")


def export(
    tree: Tree, bundles: Mapping[str, Bundle], *, in_shape: tuple[int, ...], title: str, notes: Sequence[str] = ()
) -> str:
    """Return a tree as the source of one file with a function `build_model`.

    With the same seed of torch, `build_model` gives the same weights as `llmastool.trees.build.build`. Mined code is
    kept as it was written, but for imports between its files and for names that would clash.

    Args:
        tree: the network.
        bundles: mined modules by id; those that the tree names are needed.
        in_shape: shape of an input, batch first, for the example at the end of the file.
        title: first line of the file.
        notes: further lines for the reader.

    Raises:
        RegistryError: the tree names something that is neither of torch, nor of our own blocks, nor in `bundles`.
    """
    return _Export(tree, bundles).write(in_shape, title, notes)


@dataclass(frozen=True)
class _Place:
    """Where a reference leads: into a source file, or to a dotted name of torch or Python."""

    unit: Unit | None
    qualname: str


class _Export:
    def __init__(self, tree: Tree, bundles: Mapping[str, Bundle]) -> None:
        self.tree, self.bundles = tree, bundles
        self.by_name = {bundle.name: bundle for bundle in bundles.values()}
        references = list(dict.fromkeys(_references(tree)))
        used: dict[str, Bundle] = {}
        for reference, home in references:
            bundle = self._bundle(reference, home)
            if bundle is not None:
                used[bundle.id] = bundle
        blocks = [r.split(".")[2] for r, _ in references if r.startswith(f"{BLOCKS}.")]
        mined = list(used.values())
        self.origins = [*mined, *([blocks_bundle(blocks)] if blocks else [])]
        self.sources = merge(self.origins)
        roots: list[Unit] = [self._unit(bundle, bundle.module) for bundle in mined]
        places = [self._place(reference, home) for reference, home in references]
        roots += [place.unit for place in places if place.unit is not None]
        owned: list[Symbol] = [Own(p.unit, p.qualname.split(".")[0]) for p in places if p.unit is not None]
        self.flat = flatten(list(self.sources.values()), roots, [_TORCH, _NN, *owned])
        self.imports = {_TORCH, _NN, *self.flat.imports}
        self.plain = set(self.flat.plain_imports)
        self.helpers = set(self.flat.helpers)

    def write(self, in_shape: tuple[int, ...], title: str, notes: Sequence[str]) -> str:
        """Return the file."""
        # A module can work in place only where that word stands in its code or among its arguments.
        finish = OUT_OF_PLACE if "inplace" in self.flat.body or "inplace" in dumps(self.tree.to_json()) else ""
        self.helpers |= {finish} - {""}
        build = Construction(self._expression, self.flat.names.free).write(self.tree, finish)
        nn = self.flat.names.give(_NN)
        described = header(title, notes, self.origins, self.sources, self.flat.boxed)
        future = "from __future__ import annotations\n" if self.flat.future else ""
        parts = [
            "\n".join(filter(None, (described, future, self._import_block()))),
            *(HELPER_SOURCES[name] for name in sorted(self.helpers)),
            self.flat.views + "\n" if self.flat.views else "",
            self.flat.body.strip("\n") + "\n" if self.flat.body else "",
            f'def build_model() -> {nn}.Module:\n    """Return the network with fresh weights."""\n{build}\n',
            self._example(in_shape),
        ]
        return "\n\n".join(part.strip("\n") + "\n" for part in parts if part)

    def _bundle(self, reference: str, home: str) -> Bundle | None:
        """Return the bundle in which a reference of a tree is found; None for torch, Python and our own blocks."""
        bundle_id = reference.partition(":")[0]
        if bundle_id in self.bundles:
            return self.bundles[bundle_id]
        if reference.startswith(("torch.", "builtins.", "types.", "collections.", f"{BLOCKS}.")):
            return None
        own = self.bundles.get(home)
        if own is not None and any(reference.startswith(f"{f.name}.") for f in own.files):
            return own
        if reference in self.by_name:
            return self.by_name[reference]
        raise RegistryError(f"{reference}: expected a name of torch or the id of a bundle, found none of it")

    def _place(self, reference: str, home: str) -> _Place:
        bundle = self._bundle(reference, home)
        if bundle is None:
            if reference.startswith(f"{BLOCKS}."):
                return _Place(self.sources[BLOCKS].units[BLOCKS], reference[len(BLOCKS) + 1 :])
            return _Place(None, reference)
        bundle_id, _, inner = reference.partition(":")
        dotted = inner or (bundle.name if bundle_id == bundle.id else reference)
        files = sorted((f.name for f in bundle.files if dotted.startswith(f"{f.name}.")), key=len)
        if not files:
            raise RegistryError(f"{reference}: not in the slice of {bundle.id}")
        return _Place(self._unit(bundle, files[-1]), dotted[len(files[-1]) + 1 :])

    def _unit(self, bundle: Bundle, module: str) -> Unit:
        return self.sources[bundle.source.digest].units[module]

    def _expression(self, reference: str, home: str) -> str:
        """Return how the file writes what a reference of the tree names, and see to its import."""
        if reference == REVIVE:
            self.helpers.add(REVIVE)
            return REVIVE
        if reference in ("functools.partial", "collections.OrderedDict", "types.SimpleNamespace"):
            module, _, name = reference.partition(".")
            self.imports.add(Outside(module, name, name))
            return self.flat.names.give(Outside(module, name, name))
        place = self._place(reference, home)
        if place.unit is not None:
            first, _, rest = place.qualname.partition(".")
            flat = self.flat.names.expression(place.unit, first)
            return f"{flat}.{rest}" if rest else flat
        module, _, _ = reference.rpartition(".")
        if module == "builtins":
            return reference.removeprefix("builtins.")
        if _module_of(reference) not in ("torch", "torch.nn"):
            self.plain.add(_module_of(reference))
        if reference.startswith("torch.nn."):
            return f"{self.flat.names.give(_NN)}.{reference.removeprefix('torch.nn.')}"
        return f"{self.flat.names.give(_TORCH)}.{reference.removeprefix('torch.')}"

    def _import_block(self) -> str:
        """Return the imports, those of Python's own library first, what comes from one module on one line."""
        named: dict[str, list[str]] = {}
        lines = {f"import {module}": module for module in self.plain}
        for thing in self.imports:
            line = import_line(thing, self.flat.names.give(thing))
            module, found, name = line.removeprefix("from ").partition(" import ")
            if found:
                named.setdefault(module, []).append(name)
            else:
                lines[line] = thing.module
        for module, names in named.items():
            head = f"from {module} import "
            plain = f"{head}{', '.join(sorted(names))}"
            wrapped = render(Group(f"{head}(", tuple(("", name) for name in sorted(names)), ")"))
            lines[plain if len(plain) <= WIDTH else wrapped] = module
        ordered = sorted(lines, key=lambda line: (line.startswith("from "), line))
        standard = [line for line in ordered if lines[line].split(".")[0] in sys.stdlib_module_names]
        other = [line for line in ordered if line not in standard]
        return "\n".join([*standard, *([""] if standard else []), *other]) + "\n"

    def _example(self, in_shape: tuple[int, ...]) -> str:
        torch, free = self.flat.names.give(_TORCH), self.flat.names.free
        net, out, count = free("network"), free("output"), free("parameters")
        sizes = ", ".join(map(str, in_shape))
        return (
            'if __name__ == "__main__":\n'
            f"    {net} = build_model()\n"
            f"    {net}.eval()\n"
            f"    with {torch}.no_grad():\n"
            f"        {out} = {net}({torch}.randn({sizes}))\n"
            f"    {count} = sum(p.numel() for p in {net}.parameters())\n"
            f'    print(f"output {{tuple({out}.shape)}}, {{{count}}} parameters")\n'
        )


def _references(tree: Tree) -> Iterator[tuple[str, str]]:
    """Yield whatever a tree names, modules and references, each with the id of the bundle whose names it may use."""
    for _, node in tree.walk():
        if node.module != SAME:
            yield node.module, ""
            yield from _argument_references(node.args, node.module.partition(":")[0])


def _argument_references(value: Json, home: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, list):
        for item in value:
            yield from _argument_references(item, home)
    elif isinstance(value, Mapping):
        if "$ref" in value:
            yield value["$ref"], home
        elif "$object" in value:
            yield value["$object"]["class"], home
            yield from _argument_references(value["$object"]["state"], home)
        elif "$tree" in value:
            yield from _references(from_body(value["$tree"]))
        else:
            for item in value.values():
                yield from _argument_references(item, home)


def _module_of(dotted: str) -> str:
    """Return the module of torch in which a dotted name is found.

    Raises:
        RegistryError: there is no such name.
    """
    parts = dotted.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:cut])
        try:
            value: object = importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            value = getattr(value, part, None)
        if value is not None:
            return name
    raise RegistryError(f"{dotted}: there is no such name in the installed {parts[0]}")
