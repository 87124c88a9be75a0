"""Mine many sources, of which only those that changed are mined again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from llmastool.canonical import Json, digest, read_json
from llmastool.mining.bundle import SourcePin, read_bundles, read_programs
from llmastool.mining.mine import Mined, mine_source, write
from llmastool.mining.sources import SourceSpec, read_source
from llmastool.outputs import Stamp, code_digest, place_whole


def mine(specs: Sequence[SourceSpec], out: Path, cache: Path) -> list[Json]:
    """Mine sources into a folder: `bundles.jsonl`, `programs.jsonl` and `summary.json`.

    Where neither the sources, nor what is asked of them, nor this code changed, only reading the sources is done.

    Args:
        specs: sources, those that need it fetched (`llmastool.mining.fetch`).
        out: folder to write to.
        cache: folder that keeps what each source gave.

    Returns:
        The summary's line for each source.

    Raises:
        SourceError: a source cannot be read or holds no module class.
    """
    stamp = Stamp(cache, out, [mining_key(spec) for spec in specs])
    if not stamp.holds():
        write([mine_cached(spec, cache) for spec in specs], out)
        stamp.set()
    sources: list[Json] = read_json(out / "summary.json")["sources"]
    return sources


def mine_cached(spec: SourceSpec, cache: Path) -> Mined:
    """Return what a source gives, from the cache where it holds that.

    Args:
        spec: the source, fetched.
        cache: folder that keeps what each source gave.

    Raises:
        SourceError: the source cannot be read or holds no module class.
    """
    place = cache / mining_key(spec)
    if not place.is_dir():
        mined = mine_source(spec)
        place_whole(place, lambda folder: write([mined], folder))
        return mined
    (row,) = read_json(place / "summary.json")["sources"]
    return Mined(
        pin=SourcePin(**{field: row[field] for field in SourcePin.__dataclass_fields__}),
        bundles=tuple(read_bundles(place / "bundles.jsonl")),
        broken_files=tuple(row["broken_files"]),
        programs=tuple(read_programs(place / "programs.jsonl")),
    )


def mining_key(spec: SourceSpec) -> str:
    """Return the hash of all that mining a source depends on: its content, what is asked of it, and the miner's code.

    Raises:
        SourceError: the source cannot be read.
    """
    tree = read_source(spec)
    code = [code_digest(Path(__file__).parent), version("tree-sitter"), version("tree-sitter-python")]
    return digest([asdict(tree.pin), tree.texts, spec.include, spec.exclude, code])[:24]
