"""Questions to a registry's table. Only polars is needed: PyTorch is not imported, so that the answer comes at once."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmastool.canonical import Json
from llmastool.errors import RegistryError
from llmastool.mining.bundle import Bundle, read_bundles
from llmastool.registry.contract import CHANNEL_AXIS, Contract, solve
from llmastool.registry.store import BUNDLES, TABLE
from llmastool.registry.words import last_name
from llmastool.trees.profile import Shape

if TYPE_CHECKING:
    import polars as pl

Row = Mapping[str, Any]
"""One line of the table: a module, with what is known of it."""

_CLOSE = 8
"""How many names are shown where one was expected."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A module that maps one shape to another, and how."""

    row: Row
    """The module's line."""
    contract: Contract
    """Its contract for the input's layout."""
    args: Mapping[str, Json]
    """Constructor arguments with which it does."""


class Table:
    """All modules that were found in the sources, those that fell included."""

    def __init__(self, folder: Path) -> None:
        """Read the table of a registry.

        Args:
            folder: folder of the registry.

        Raises:
            RegistryError: it holds no table, or one that cannot be read.
        """
        import polars as pl

        path = folder / TABLE
        if not path.is_file():
            raise RegistryError(
                f"{folder}: expected a registry ({path.name}), found none; make one with `llmastool registry build` or "
                "`dvc repro registry`, or name its folder with --registry"
            )
        try:
            self.frame = pl.read_parquet(path)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise RegistryError(
                f"{path}: cannot be read ({error}); delete it and run `llmastool registry build`"
            ) from None
        self.folder = folder

    def select(
        self,
        family: str | None = None,
        source: str | None = None,
        stage: str | None = None,
        failed: bool = False,
        distinct: bool = False,
    ) -> pl.DataFrame:
        """Return the lines that match, sorted by name.

        Args:
            family: only modules of this family.
            source: only modules of this source.
            stage: only modules that got to this stage and fell there, or `ok` for those that fell nowhere.
            failed: only modules that fell.
            distinct: only modules that no other stands for.

        Raises:
            RegistryError: the registry has no such family, source or stage at all.
        """
        import polars as pl

        frame = self.frame
        for column, value in (("family", family), ("source", source), ("stage", stage)):
            if value is not None:
                self._check(column, value)
                frame = frame.filter(pl.col(column) == value)
        if failed:
            frame = frame.filter(pl.col("stage") != "ok")
        if distinct:
            frame = frame.filter(pl.col("duplicate_of") == "")
        return frame.sort("name", "module")

    def get(self, name: str) -> Row:
        """Return the line of one module.

        Args:
            name: its id, the hash in its id, its qualified name, or the end of that name, such as `BasicBlock` or
                `resnet.BasicBlock`.

        Raises:
            RegistryError: there is none of that name, or more than one; the message lists those, or close ones.
        """
        import polars as pl

        if not name.strip():
            raise RegistryError("expected the name of a module, got none; `registry ls` lists them")
        modules, names = pl.col("module"), pl.col("name")
        for exact in (
            modules == name,
            modules.str.ends_with(f"@{name}"),
            names == name,
            names.str.ends_with(f".{name}"),
            modules.str.ends_with(f".{name}"),
        ):
            found = self.frame.filter(exact).sort("module")
            if found.height == 1:
                return found.row(0, named=True)
            if found.height > 1:
                ids = found["module"].to_list()
                more = f" and {len(ids) - _CLOSE} more" if len(ids) > _CLOSE else ""
                raise RegistryError(f"{name}: expected one module, found {len(ids)}: {', '.join(ids[:_CLOSE])}{more}")
        raise RegistryError(f"{name}: expected a module of {self.folder}, found none; {self._close_to(name)}")

    def bundle(self, module: str) -> Bundle | None:
        """Return the bundle of a mined module, None for one that was not mined."""
        path = self.folder / BUNDLES
        return next((b for b in read_bundles(path) if b.id == module), None) if path.is_file() else None

    def same_as(self, module: str) -> Sequence[Row]:
        """Return the lines of the modules that a module stands for, as they are the same, sorted by name."""
        import polars as pl

        return self.frame.filter(pl.col("duplicate_of") == module).sort("name", "module").to_dicts()

    def find(
        self,
        in_shape: Shape,
        out_shape: Shape,
        layout: str | None = None,
        family: str | None = None,
        plain: bool = True,
    ) -> list[Fit]:
        """Return the distinct modules that map one shape to another, those with the fewest parameters first.

        Args:
            in_shape: shape of the input, batch first, e.g. (batch, channels, height, width).
            out_shape: shape of the output.
            layout: only contracts that take this layout; None for any that the shapes allow.
            family: only modules of this family.
            plain: only modules that take that one tensor and return one.

        Raises:
            RegistryError: the registry has no such family, or there is no such layout.
        """
        if layout is not None and layout not in CHANNEL_AXIS:
            raise RegistryError(f"{layout}: expected a layout, one of {', '.join(CHANNEL_AXIS)}")
        fits = []
        for row in self.select(family=family, stage="ok", distinct=True).iter_rows(named=True):
            for contract in contracts_of(row):
                if (layout not in (None, contract.layout_in)) or (plain and not contract.plain):
                    continue
                args = solve(contract, in_shape, out_shape)
                if args is not None:
                    fits.append(Fit(row=row, contract=contract, args=args))
        return sorted(fits, key=lambda f: (f.contract.parameters, f.row["module"], f.contract.layout_in))

    def _check(self, column: str, value: str) -> None:
        known = sorted(self.frame[column].drop_nulls().unique().to_list())
        if value not in known:
            close = difflib.get_close_matches(value, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(known)}"
            raise RegistryError(f"{value}: expected a {column} of {self.folder}, found none of it; {hint}")

    def _close_to(self, name: str) -> str:
        last: dict[str, list[str]] = {}
        for full in self.frame["name"].unique().sort().to_list():
            last.setdefault(full.rpartition(".")[2], []).append(full)
        wanted = last_name(name)
        same = [n for n in last if n.lower() == wanted.lower()] or difflib.get_close_matches(wanted, last, n=3)
        close = [full for n in same for full in last[n]][:_CLOSE]
        return f"did you mean {' or '.join(close)}?" if close else "`registry ls` lists them"


def contracts_of(row: Row) -> list[Contract]:
    """Return the contracts of a module, the most telling first.

    Raises:
        RegistryError: they were written by another version.
    """
    try:
        return [Contract.from_json(value) for value in json.loads(row["contracts"])]
    except (KeyError, TypeError) as error:
        raise RegistryError(
            f"{row['module']}: expected a contract of this version, found another ({error}); build the registry again"
        ) from None


def shape_of(text: str) -> Shape:
    """Read a shape such as `2,64,16,16`.

    Raises:
        RegistryError: it is none.
    """
    parts: Sequence[str] = text.replace("x", ",").split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise RegistryError(f"{text!r}: expected a shape, batch first, such as 2,64,16,16")
    return tuple(int(part) for part in parts)
