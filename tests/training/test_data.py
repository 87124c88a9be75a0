from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from llmastool.errors import ConfigError, DataError
from llmastool.training.data import DataConfig, files, load, load_meta, prepare
from tests.training.conftest import DIGITS


def _files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def _rows(folder: Path, split: Any) -> set[bytes]:
    """Images of a split made comparable; labels go in, so that equal pictures of two classes stay apart."""
    images, labels = load(folder, split)
    return {image.numpy().tobytes() + bytes([int(label)]) for image, label in zip(images, labels, strict=True)}


def _npz(folder: Path, name: str = "set.npz", **arrays: Any) -> str:
    folder.mkdir(exist_ok=True)
    np.savez(folder / name, **arrays)
    return str(folder)


def _noise(n: int, *shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def _labels(n: int, classes: int = 2) -> Any:
    return np.arange(n) % classes


def _png(pixels: Any, mode: str | None = None) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(buffer, "PNG")
    return buffer.getvalue()


def _parquet(folder: Path, name: str, images: list[bytes | None], labels: list[int | None], **names: str) -> str:
    folder.mkdir(exist_ok=True)
    cells = [{"bytes": image, "path": None} for image in images]
    kind = pl.Struct({"bytes": pl.Binary, "path": pl.String})
    image, label = names.get("image", "img"), names.get("label", "label")
    pl.DataFrame({image: pl.Series(cells, dtype=kind), label: labels}).write_parquet(folder / name)
    return str(folder)


def _refused(path: str, tmp_path: Path, match: str, **fields: Any) -> None:
    out = tmp_path / "out"
    with pytest.raises(DataError, match=match):
        prepare(DataConfig(path=path, **fields), out, seed=0)
    assert not out.exists()
    assert not list(tmp_path.glob(".out.*"))


def test_splits_are_disjoint_complete_and_stratified(digits: Path) -> None:
    parts = [_rows(digits, s) for s in ("train", "validation", "test")]
    with np.load(DIGITS / "digits.npz") as source:
        everything = {i.tobytes() + bytes([int(n)]) for i, n in zip(source["images"], source["labels"], strict=True)}
        whole = np.bincount(source["labels"])
    assert set.union(*parts) == everything
    assert sum(map(len, parts)) == len(everything)
    for split, share in (("train", 0.6), ("validation", 0.2), ("test", 0.2)):
        counts = np.bincount(load(digits, split)[1].numpy(), minlength=10)  # type: ignore[arg-type]
        assert np.abs(counts - share * whole).max() <= 1


def test_equal_seeds_give_equal_bytes_and_others_do_not(tmp_path: Path) -> None:
    config = DataConfig(path=str(DIGITS), limit=300)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        prepare(config, tmp_path / name, seed)
    os.utime(tmp_path / "a" / "train-images.npy", (0, 0))
    assert _files(tmp_path / "a") == _files(tmp_path / "b")
    assert load_meta(tmp_path / "a")["digest"] != load_meta(tmp_path / "c")["digest"]


def test_meta_describes_the_train_split(digits: Path) -> None:
    meta = load_meta(digits)
    images = load(digits, "train")[0].numpy()
    assert meta["shape"] == [1, 8, 8]
    assert meta["classes"] == 10
    assert meta["class_names"] == [str(i) for i in range(10)]
    assert meta["counts"] == {"train": len(images), "validation": 359, "test": 359}
    assert meta["mean"] == pytest.approx([images.mean() / 255], abs=1e-6)
    assert meta["std"] == pytest.approx([images.std() / 255], abs=1e-6)
    assert meta["flip"] is False


def test_prepare_replaces_what_was_there(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "stale.txt").write_text("old")
    prepare(DataConfig(path=str(DIGITS), limit=200), out, seed=0)
    assert sorted(_files(out)) == sorted(["meta.json", *files("train"), *files("validation"), *files("test")])
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("limit", [101, 250, 1797])
def test_limit_is_exact(tmp_path: Path, limit: int) -> None:
    meta = prepare(DataConfig(path=str(DIGITS), limit=limit), tmp_path / "out", seed=0)
    assert sum(meta["counts"].values()) == limit


@pytest.mark.parametrize("shape", [(6, 5), (1, 6, 5), (3, 6, 5)])
def test_npz_layouts(tmp_path: Path, shape: tuple[int, ...]) -> None:
    images = _noise(20, *shape)
    meta = prepare(DataConfig(path=_npz(tmp_path / "s", images=images, labels=_labels(20))), tmp_path / "o", 0)
    assert meta["shape"] == [1 if len(shape) == 2 else shape[0], 6, 5]
    if len(shape) == 3:
        last = np.moveaxis(images, 1, -1)
        again = prepare(DataConfig(path=_npz(tmp_path / "l", images=last, labels=_labels(20))), tmp_path / "p", 0)
        assert again["digest"] == meta["digest"]


def test_flip_follows_the_name_unless_set(tmp_path: Path) -> None:
    path = _npz(tmp_path / "s", images=_noise(20, 4, 4), labels=_labels(20))
    found = [
        prepare(DataConfig(name=name, path=path, flip=flip), tmp_path / "o", 0)["flip"]
        for name, flip in (("MNIST", None), ("pets", None), ("digits", True), ("pets", False))
    ]
    assert found == [False, True, True, False]


def test_parquet_with_an_official_test_split(tmp_path: Path) -> None:
    images = _noise(40, 6, 6, 3)
    pngs: list[bytes | None] = [_png(i) for i in images]
    folder = tmp_path / "s"
    _parquet(folder, "train-00000-of-00002.parquet", pngs[:15], [i % 2 for i in range(15)])
    _parquet(folder, "train-00001-of-00002.parquet", pngs[15:30], [i % 2 for i in range(15)])
    _parquet(folder, "test-00000-of-00001.parquet", pngs[30:], [i % 2 for i in range(10)])
    (folder / "classes.txt").write_text("cat\ndog\n")
    meta = prepare(DataConfig(name="pets", path=str(folder)), tmp_path / "out", 0)
    assert meta["class_names"] == ["cat", "dog"]
    assert meta["counts"] == {"train": 22, "validation": 8, "test": 10}
    test = load(tmp_path / "out", "test")[0].numpy()
    assert np.array_equal(test, images[30:].transpose(0, 3, 1, 2))
    fewer = prepare(DataConfig(name="pets", path=str(folder), limit=20), tmp_path / "out", 0)
    assert fewer["counts"] == {"train": 11, "validation": 4, "test": 5}


def test_parquet_grey_stays_grey_and_a_mix_becomes_colour(tmp_path: Path) -> None:
    grey: list[bytes | None] = [_png(i) for i in _noise(10, 6, 6)]
    path = _parquet(tmp_path / "g", "train-0.parquet", grey, [0, 1] * 5, image="image", label="fine_label")
    assert prepare(DataConfig(path=path), tmp_path / "out", 0)["shape"] == [1, 6, 6]
    mixed = [*grey[:9], _png(_noise(1, 6, 6, 3)[0])]
    path = _parquet(tmp_path / "m", "train-0.parquet", mixed, [0, 1] * 5)
    assert prepare(DataConfig(path=path), tmp_path / "out", 0)["shape"] == [3, 6, 6]


def test_missing_path(tmp_path: Path) -> None:
    _refused(
        str(tmp_path / "none"), tmp_path, r"none: no such file or folder; get it with `dvc update data.dvc`.*data\.path"
    )


def test_no_usable_file(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    _refused(str(tmp_path / "s"), tmp_path, "expected .* found an empty folder")
    (tmp_path / "s" / "readme.txt").write_text("hello")
    _refused(str(tmp_path / "s"), tmp_path, r"found \['readme.txt'\]")
    _refused(str(tmp_path / "s" / "readme.txt"), tmp_path, "expected a .npz or .parquet file, or one of cifar-10")


def test_only_a_test_split(tmp_path: Path) -> None:
    pngs: list[bytes | None] = [_png(i) for i in _noise(4, 6, 6)]
    _refused(_parquet(tmp_path / "s", "test-0.parquet", pngs, [0, 1] * 2), tmp_path, "no train-\\* file")


@pytest.mark.parametrize("name", ["set.npz", "train-0.parquet"])
def test_broken_file(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "s"
    pngs: list[bytes | None] = [_png(i) for i in _noise(40, 6, 6)]
    _npz(folder, images=_noise(40, 6, 6), labels=_labels(40)) if name == "set.npz" else _parquet(
        folder, name, pngs, [0, 1] * 20
    )
    whole = (folder / name).read_bytes()
    for broken in (whole[: len(whole) // 2], b"", b"not this at all"):
        (folder / name).write_bytes(broken)
        _refused(str(folder), tmp_path, f"{name}: not a readable")


def test_broken_image_is_named_by_file_and_row(tmp_path: Path) -> None:
    pngs: list[bytes | None] = [_png(i) for i in _noise(10, 6, 6)]
    for broken in (b"no image", pngs[4][:40] if pngs[4] else None, b""):
        path = _parquet(tmp_path / "s", "train-0.parquet", [*pngs[:4], broken, *pngs[5:]], [0, 1] * 5)
        _refused(path, tmp_path, "train-0.parquet, row 4: the image is broken")
    path = _parquet(tmp_path / "s", "train-0.parquet", [*pngs[:4], None, *pngs[5:]], [0, 1] * 5)
    _refused(path, tmp_path, "row 4: the image has no bytes")
    deep = _png(np.zeros((6, 6), np.uint16))
    path = _parquet(tmp_path / "s", "train-0.parquet", [*pngs[:4], deep, *pngs[5:]], [0, 1] * 5)
    _refused(path, tmp_path, "row 4: expected 8 bits a channel")


def test_bad_labels(tmp_path: Path) -> None:
    images = _noise(20, 6, 6)
    negative, high = _labels(20), _labels(20)
    negative[7], high[3] = -1, 9
    _refused(_npz(tmp_path / "s", images=images, labels=negative), tmp_path, "row 7: expected a label from 0 .*got -1")
    named = _npz(tmp_path / "s", images=images, labels=high, class_names=np.array(["a", "b"]))
    _refused(named, tmp_path, "row 3: expected a label from 0 to 1, got 9")
    _refused(_npz(tmp_path / "s", images=images, labels=_labels(19)), tmp_path, r"expected integer labels .*\(20,\)")
    _refused(_npz(tmp_path / "s", images=images, labels=_labels(20) / 2), tmp_path, "expected integer labels")
    pngs: list[bytes | None] = [_png(i) for i in images[:4]]
    path = _parquet(tmp_path / "p", "train-0.parquet", pngs, [0, 1, None, 1])
    _refused(path, tmp_path, "row 2: the label is missing")


def test_bad_images(tmp_path: Path) -> None:
    labels = _labels(20)
    for images, got in (
        (_noise(20, 6, 6).astype(np.float32), "float32"),
        (_noise(20, 36), r"uint8 \(20, 36\)"),
        (_noise(20, 5, 6, 6), "1 or 3 channels"),
    ):
        _refused(_npz(tmp_path / "s", images=images, labels=labels), tmp_path, got)
    _refused(_npz(tmp_path / "s", pictures=labels), tmp_path, "expected arrays 'images' and 'labels', found")


def test_mixed_sizes(tmp_path: Path) -> None:
    pngs: list[bytes | None] = [_png(i) for i in _noise(10, 6, 6)]
    pngs[6] = _png(_noise(1, 7, 6)[0])
    path = _parquet(tmp_path / "s", "train-0.parquet", pngs, [0, 1] * 5)
    _refused(path, tmp_path, "row 6: expected an image like the first, 1 channels of 6x6")


def test_columns_missing(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    pl.DataFrame({"text": ["a"], "label": [0]}).write_parquet(folder / "train-0.parquet")
    _refused(str(folder), tmp_path, "expected an image column")


def test_too_few(tmp_path: Path) -> None:
    images = _noise(20, 6, 6)
    _refused(_npz(tmp_path / "s", images=images, labels=np.zeros(20, int)), tmp_path, "2 classes or more, got 1")
    _refused(_npz(tmp_path / "s", images=images[:0], labels=_labels(0)), tmp_path, "holds no image")
    rare = np.zeros(20, int)
    rare[:2] = 1
    _refused(_npz(tmp_path / "s", images=images, labels=rare), tmp_path, "class '1' has 2 images, too few")
    gap = np.where(_labels(20) == 1, 2, 0)
    _refused(_npz(tmp_path / "s", images=images, labels=gap), tmp_path, "class '1' has 0 images, too few")
    _refused(str(DIGITS), tmp_path, r"asks for 2000 images, and there are 1797", limit=2000)
    _refused(str(DIGITS), tmp_path, r"too few for the splits", limit=5)


def test_reading_what_was_not_prepared(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train-images.npy: no such file; prepare the data first"):
        load(tmp_path, "train")
    with pytest.raises(DataError, match=r"meta.json: .*prepare the data again"):
        load_meta(tmp_path)


@pytest.mark.parametrize(
    "fields", [{"validation": 0.0}, {"test": 1.0}, {"validation": 0.6, "test": 0.4}, {"limit": 0}, {"name": ""}]
)
def test_config_out_of_range(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(reversed(fields)))):
        DataConfig(**fields)
