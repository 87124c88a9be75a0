"""Canonical JSON, atomic files, append-only logs, named seeds, strict configuration."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmastool import seeds
from llmastool.canonical import append_line, digest, dumps, read_lines, write_atomic
from llmastool.config import from_mapping, require
from llmastool.errors import ConfigError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda i: st.lists(i) | st.dictionaries(st.text(), i)
)


@given(st.dictionaries(st.text(), JSON))
def test_the_order_of_keys_does_not_matter(value: dict[str, object]) -> None:
    assert digest(value) == digest(dict(reversed(value.items())))


def test_numbers_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        dumps({"x": float("nan")})


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomic(path, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@given(st.lists(JSON, max_size=4), st.integers(0, 40))
def test_a_log_torn_by_a_crash_loses_the_torn_line_only(values: list[object], cut: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        for value in values:
            append_line(path, value)
        whole = path.read_bytes() if values else b""
        path.write_bytes(whole[: max(0, len(whole) - cut)])
        kept = list(read_lines(path))
        assert kept == values[: len(kept)]
        append_line(path, "after")
        assert list(read_lines(path)) == [*kept, "after"]


def test_every_part_has_a_generator_of_its_own() -> None:
    assert seeds.derive(0, "a", 1) == seeds.derive(0, "a", 1)
    assert len({seeds.derive(s, n, r) for s in (0, 1) for n in ("a", "b") for r in (0, 1)}) == 8
    assert seeds.generator(0, "a").random() != seeds.generator(0, "b").random()


@dataclass(frozen=True, kw_only=True)
class Inner:
    size: int = 1

    def __post_init__(self) -> None:
        require(self.size > 0, "size", "more than 0", self.size)


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    rate: float = 0.5
    kind: Literal["a", "b"] = "a"
    limit: int | None = None
    inner: Inner = field(default_factory=Inner)
    many: tuple[Inner, ...] = ()
    extra: dict[str, int] = field(default_factory=dict)


def test_a_mapping_becomes_nested_dataclasses() -> None:
    value = {"name": "x", "rate": 1, "inner": {"size": 3}, "many": [{"size": 4}, {}], "extra": {"k": 1}, "kind": "b"}
    assert from_mapping(Outer, value) == Outer(
        name="x", rate=1.0, kind="b", inner=Inner(size=3), many=(Inner(size=4), Inner()), extra={"k": 1}
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, r"params\.name: missing"),
        ({"name": "x", "raet": 1}, r"params\.raet: unknown key; did you mean 'rate'\?"),
        ({"name": "x", "zzz": 1}, r"params\.zzz: unknown key; known keys: extra, inner"),
        ({"name": 3}, r"params\.name: expected str, got 3"),
        ({"name": "x", "limit": True}, r"params\.limit: expected int, got True"),
        ({"name": "x", "kind": "c"}, r"params\.kind: expected one of 'a', 'b', got 'c'"),
        ({"name": "x", "inner": {"size": 0}}, r"params\.inner\.size: expected more than 0, got 0"),
        ({"name": "x", "many": [{"size": 1}, {"size": "2"}]}, r"params\.many\[1\]\.size: expected int, got '2'"),
        ({"name": "x", "many": {}}, r"params\.many: expected a list"),
        ({"name": "x", "extra": {"k": "v"}}, r"params\.extra\.k: expected int, got 'v'"),
        ([], r"params: expected a mapping"),
    ],
)
def test_what_is_wrong_is_named_with_its_path(value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_mapping(Outer, value)
