"""A tree as the statements that build it, in the order in which `llmastool.trees.build` builds."""

from __future__ import annotations

import keyword
from collections.abc import Callable, Iterable, Iterator, Mapping

from llmastool.canonical import Json
from llmastool.registry.words import last_name
from llmastool.trees.layout import Doc, Group, render
from llmastool.trees.tree import POSITIONAL, SAME, Tree, from_body

INDENT = 4

OUT_OF_PLACE = "_out_of_place"
"""Helper of an exported file that keeps modules from working in place, as `llmastool.trees.build` does."""

REVIVE = "_revive"
"""Helper of an exported file that makes an object of its class and attributes; asked for by this reference."""


class Construction:
    """Writes the body of a function that builds a tree."""

    def __init__(self, name: Callable[[str, str], str], variable: Callable[[str], str]) -> None:
        """Take what names things.

        Args:
            name: from a reference, and the id of the bundle in whose arguments it stands, to an expression.
            variable: from a wish to the name of a new local variable.
        """
        self._name, self._variable = name, variable
        self._lines: list[str] = []

    def write(self, tree: Tree, finish: str = "") -> str:
        """Return the statements, the last of which returns the network, or what the function `finish` makes of it."""
        net = self._variable("net")
        self._whole(tree, net)
        return "\n".join([*self._lines, f"{' ' * INDENT}return {f'{finish}({net})' if finish else net}"])

    def _say(self, before: str, doc: Doc, after: str = "") -> None:
        pad = " " * INDENT
        self._lines.append(f"{pad}{before}{render(doc, INDENT, len(before) + len(after))}{after}")

    def _whole(self, tree: Tree, variable: str) -> None:
        """Build a tree in a variable; modules that stand at several paths are put there at the end."""
        self._node(tree, variable)
        for path, target in tree.shared():
            found = Group(f"{variable}.get_submodule(", (("", _quoted(target)),), ")")
            self._say("", Group(f"{variable}.set_submodule(", (("", _quoted(path)), ("", found)), ")"))

    def _node(self, tree: Tree, variable: str) -> None:
        """Build a node in a variable: its own constructor first, then its children, in order."""
        if _is_simple(tree):
            self._say(f"{variable} = ", self._simple(tree))
            return
        self._say(f"{variable} = ", self._call(tree))
        for slot, child in tree.children:
            if _is_simple(child):
                doc = self._simple(child)
            else:
                doc = self._variable(_identifier(slot))
                self._node(child, doc)
            if tree.is_container:
                self._say("", Group(f"{variable}.add_module(", (("", _quoted(slot)), ("", doc)), ")"))
            elif slot.isidentifier() and not keyword.iskeyword(slot):
                self._say(f"{variable}.{slot} = ", doc)
            else:
                self._say("", Group(f"{variable}.set_submodule(", (("", _quoted(slot)), ("", doc)), ")"))

    def _simple(self, tree: Tree) -> Doc:
        if not tree.children:
            return self._call(tree)
        children = [(slot, self._simple(child)) for slot, child in tree.children]
        head = self._name(tree.module, "")
        numbered = [slot for slot, _ in children] == [str(i) for i in range(len(children))]
        plain = tuple(("", doc) for _, doc in children)
        named = tuple((f"{_quoted(slot)}: ", doc) for slot, doc in children)
        match tree.module.rpartition(".")[2], numbered:
            case "Sequential", True:
                return Group(f"{head}(", plain, ")")
            case "ModuleList", True:
                return Group(f"{head}([", plain, "])")
            case "ModuleDict", _:
                return Group(f"{head}({{", named, "})")
        pairs = tuple(("", Group("(", (("", _quoted(slot)), ("", doc)), ")")) for slot, doc in children)
        return Group(f"{head}({self._name('collections.OrderedDict', '')}([", pairs, "]))")

    def _call(self, tree: Tree) -> Group:
        """Return the constructor's call; modules among its arguments are built before it, in order."""
        if tree.module == SAME:  # until the end, something has to stand there
            return Group(f"{self._name('torch.nn.Identity', '')}(", (), ")")
        apart = not all(_is_simple(inner) for inner in _inner_trees(tree.args))
        home = tree.module.partition(":")[0]
        first = self._values(tree.args.get(POSITIONAL, ()), home, apart)
        named = [_keyword(k, self._value(v, home, apart)) for k, v in tree.args.items() if k != POSITIONAL]
        return Group(f"{self._name(tree.module, '')}(", (*first, *named), ")")

    def _value(self, value: Json, home: str, apart: bool) -> Doc:
        if isinstance(value, list):
            return Group("[", self._values(value, home, apart), "]")
        if not isinstance(value, Mapping):
            return _quoted(value) if isinstance(value, str) else repr(value)
        if "$ref" in value:
            return self._name(value["$ref"], home)
        if "$tuple" in value:
            return Group("(", self._values(value["$tuple"], home, apart), ")")
        if "$partial" in value:
            part = value["$partial"]
            rest = self._values([part["func"], *part["args"]], home, apart)
            named = tuple(_keyword(k, self._value(v, home, apart)) for k, v in part["kwargs"].items())
            return Group(f"{self._name('functools.partial', '')}(", (*rest, *named), ")")
        if "$call" in value:
            part = value["$call"]
            named = tuple(_keyword(k, self._value(v, home, apart)) for k, v in part["kwargs"].items())
            head = self._name(part["func"]["$ref"], home)
            return Group(f"{head}(", (*self._values(part["args"], home, apart), *named), ")")
        if "$tree" in value:
            inner = from_body(value["$tree"])
            if not apart:
                return self._simple(inner)
            variable = self._variable(last_name(inner.module).lower())
            self._whole(inner, variable)
            return variable
        if "$object" in value:
            part = value["$object"]
            named = tuple(_keyword(k, self._value(v, home, apart)) for k, v in part["state"].items())
            return Group(f"{self._name(REVIVE, '')}(", (("", self._name(part["class"], home)), *named), ")")
        return Group("{", tuple((f"{_quoted(k)}: ", self._value(v, home, apart)) for k, v in value.items()), "}")

    def _values(self, values: Iterable[Json], home: str, apart: bool) -> tuple[tuple[str, Doc], ...]:
        return tuple(("", self._value(value, home, apart)) for value in values)


def _is_simple(tree: Tree) -> bool:
    """Return whether a node can be written as one expression that builds in the right order."""
    own = not tree.children or (tree.is_container and not tree.args)
    return (
        own
        and not any(tree.shared())
        and all(_is_simple(t) for t in (*_inner_trees(tree.args), *(child for _, child in tree.children)))
    )


def _inner_trees(value: Json) -> Iterator[Tree]:
    if isinstance(value, Mapping):
        if "$tree" in value:
            yield from_body(value["$tree"])
        else:
            for item in value.values():
                yield from _inner_trees(item)
    elif isinstance(value, list):
        for item in value:
            yield from _inner_trees(item)


def _keyword(key: str, doc: Doc) -> tuple[str, Doc]:
    if key.isidentifier() and not keyword.iskeyword(key):
        return f"{key}=", doc
    return "**", Group("{", ((f"{_quoted(key)}: ", doc),), "}")


def _quoted(text: str) -> str:
    plain = repr(text)
    return f'"{plain[1:-1]}"' if plain.startswith("'") and '"' not in plain else plain


def _identifier(slot: str) -> str:
    name = "".join(c if c.isalnum() else "_" for c in slot).lower()
    return name if name.isidentifier() and not keyword.iskeyword(name) else f"child_{name}"
