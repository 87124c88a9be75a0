"""Packed bundles: nothing is lost, and nothing is stored twice."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from llmastool.canonical import dumps
from llmastool.mining.bundle import Bundle, pack, read_bundles, unpack, write_bundles
from llmastool.mining.mine import Mined, mine_source
from llmastool.mining.sources import SourceSpec

SHARED = "def shared(x):\n    return x + 1\n"


@pytest.fixture
def bundles(mine_files: Callable[..., Mined]) -> list[Bundle]:
    odd = "".join(map(chr, (0x85, 0x2028, 0x2029, 0x1C, 0x0B, 0xE9, 0x1F600)))
    nets = "".join(
        f"class Net{i}(nn.Module):\n    odd = {odd!r} + '{odd[:3]}{odd[5:]}'\n    def forward(self, x): return shared(x)\n"
        for i in range(20)
    )
    return list(mine_files({"main.py": f"from torch import nn\n{SHARED}{nets}Net0(1, a=[2])\n"}).bundles)


def test_what_was_packed_is_unpacked_equal_and_in_order(bundles: list[Bundle]) -> None:
    assert unpack(pack(bundles)) == bundles
    assert unpack(json.loads(json.dumps(pack(bundles[::-1])))) == bundles[::-1]
    assert [b.id for b in unpack(pack(bundles))] == [b.id for b in bundles]
    assert unpack(pack([])) == []


def test_every_text_is_stored_once(bundles: list[Bundle]) -> None:
    assert json.dumps(pack(bundles)).count("def shared") == 1
    packed = pack(bundles)
    assert len(packed["tables"]["texts"]) == len(set(packed["tables"]["texts"]))


def test_a_file_of_bundles_is_sorted_stable_and_holds_any_character(bundles: list[Bundle], tmp_path: Path) -> None:
    write_bundles(tmp_path / "a.jsonl", bundles)
    write_bundles(tmp_path / "b.jsonl", bundles[::-1])
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    assert read_bundles(tmp_path / "a.jsonl") == sorted(bundles, key=lambda b: b.id)
    write_bundles(tmp_path / "none.jsonl", [])
    assert read_bundles(tmp_path / "none.jsonl") == []


def test_torchvision_is_stored_in_less_than_half_the_room(tmp_path: Path) -> None:
    mined = mine_source(SourceSpec(name="torchvision", include=("models/*",)))
    write_bundles(tmp_path / "bundles.jsonl", mined.bundles)
    plain = sum(len(dumps(b.to_json()).encode()) for b in mined.bundles)
    assert (tmp_path / "bundles.jsonl").stat().st_size < plain / 2
    assert [Bundle.from_json(b.to_json()) for b in mined.bundles] == list(mined.bundles)
