"""Image sets of every kind, made here in small, read as they would be."""

from __future__ import annotations

import hashlib
import json
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from llmastool.errors import DataError
from llmastool.training.data import DataConfig, load, prepare
from llmastool.training.images import batches, cache
from llmastool.training.images.batches import Published

Checksums = dict[str, str]


def noise(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def batch(count: int, height: int, key: str, first: int = 0, seed: int = 0) -> dict[str, Any]:
    labels = [first + i % 4 for i in range(count)]
    return {"data": noise(count, 3 * height * height, seed=seed), key: labels}


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A set like CIFAR-10, of 40 training and 16 test images, and its own checksums."""
    folder = tmp_path / "cifar"
    held = {
        "data_batch_1": batch(20, 32, "labels"),
        "data_batch_2": batch(20, 32, "labels", seed=1),
        "test_batch": batch(16, 32, "labels", seed=2),
        "batches.meta": {"label_names": ["cat", "dog", "elk", "fox"]},
    }
    (folder / "cifar-10-batches-py").mkdir(parents=True)
    sums = {}
    for name, value in held.items():
        data = pickle.dumps(value, protocol=2)
        (folder / "cifar-10-batches-py" / name).write_bytes(data)
        sums[name] = hashlib.md5(data).hexdigest()
    published = Published(
        folder="cifar-10-batches-py",
        archive="cifar-10-python.tar.gz",
        checksums=sums,
        files={"train": ("data_batch_1", "data_batch_2"), "test": ("test_batch",)},
        height=32,
        labels="labels",
        names=("batches.meta", "label_names"),
    )
    for mark in ("cifar-10-batches-py", "cifar-10-python.tar.gz"):
        monkeypatch.setitem(batches.PUBLISHED, mark, lambda: published)
    return folder


def split_file(path: Path, **splits: Any) -> str:
    """Write published splits in the form of NAS-Bench-201's."""
    path.write_text(json.dumps({k: ["int", [str(i) for i in v]] for k, v in splits.items()}))
    return str(path)


def test_cifar_as_torchvision_leaves_it(cifar: Path, tmp_path: Path) -> None:
    meta = prepare(DataConfig(name="cifar10", path=str(cifar), validation=0.15), tmp_path / "out", 0)
    assert meta["class_names"] == ["cat", "dog", "elk", "fox"] and meta["shape"] == [3, 32, 32]
    assert meta["counts"] == {"train": 32, "validation": 8, "test": 16} and meta["validation_from"] == "train"
    images, labels = load(tmp_path / "out", "test")
    assert np.array_equal(images.numpy(), noise(16, 3072, seed=2).reshape(-1, 3, 32, 32))
    assert labels.tolist() == [i % 4 for i in range(16)]


def test_the_archive_holds_the_same(cifar: Path, tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    folder.mkdir()
    archive = folder / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(cifar / "cifar-10-batches-py", arcname="cifar-10-batches-py")
    published = batches.PUBLISHED["cifar-10-batches-py"]()
    published.checksums[archive.name] = hashlib.md5(archive.read_bytes()).hexdigest()
    digests = {prepare(DataConfig(path=str(p)), tmp_path / "out", 0)["digest"] for p in (cifar, folder, archive)}
    assert len(digests) == 1
    archive.write_bytes(archive.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"cifar-10-python.tar.gz: expected the published file with MD5 .* cut short"):
        prepare(DataConfig(path=str(archive)), tmp_path / "out", 0)


def test_a_changed_a_missing_and_a_harmful_batch(cifar: Path, tmp_path: Path) -> None:
    target = cifar / "cifar-10-batches-py" / "data_batch_2"
    whole, out = target.read_bytes(), tmp_path / "out"
    target.write_bytes(whole[:-10])
    with pytest.raises(DataError, match=r"data_batch_2: expected the published file with MD5 .*: fetch it again"):
        prepare(DataConfig(path=str(cifar)), out, 0)
    target.unlink()
    with pytest.raises(DataError, match=r"data_batch_2: no such file; the set is not whole"):
        prepare(DataConfig(path=str(cifar)), out, 0)

    class Harm:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "harm",))

    published = batches.PUBLISHED["cifar-10-batches-py"]()
    for value, text in (
        (Harm(), "a batch of images holds no"),
        ([1], "expected a mapping"),
        ({"data": 1}, "not a batch of"),
    ):
        target.write_bytes(pickle.dumps(value, protocol=2))
        published.checksums["data_batch_2"] = hashlib.md5(target.read_bytes()).hexdigest()
        with pytest.raises(DataError, match=text):
            prepare(DataConfig(path=str(cifar)), out, 0)
    assert not (tmp_path / "harm").exists() and not out.exists()


def test_the_splits_of_nas_bench_201_on_cifar10(cifar: Path, tmp_path: Path) -> None:
    """25 and 25 thousand of the training images there; networks of the table learn from both."""
    splits = split_file(tmp_path / "s.txt", train=range(0, 24), valid=range(24, 40))
    meta = prepare(DataConfig(path=str(cifar), splits=splits), tmp_path / "out", 0)
    assert meta["counts"] == {"train": 24, "validation": 16, "test": 16} and meta["validation_from"] == "train"
    everything = np.concatenate([noise(20, 3072), noise(20, 3072, seed=1)]).reshape(-1, 3, 32, 32)
    for split, rows in (("train", slice(24)), ("validation", slice(24, 40))):
        assert np.array_equal(load(tmp_path / "out", split)[0].numpy(), everything[rows])  # type: ignore[arg-type]


def test_the_splits_of_nas_bench_201_on_cifar100(cifar: Path, tmp_path: Path) -> None:
    """The test images are divided there; what is validated on is not learned from in the end."""
    splits = split_file(tmp_path / "s.txt", xvalid=[1, 2, 3, 4, 8, 9], xtest=[0, 5, 6, 7, 10, 11, 12, 13, 14, 15])
    meta = prepare(DataConfig(path=str(cifar), splits=splits), tmp_path / "out", 0)
    assert meta["counts"] == {"train": 40, "validation": 6, "test": 10} and meta["validation_from"] == "test"
    tests = noise(16, 3072, seed=2).reshape(-1, 3, 32, 32)
    assert np.array_equal(load(tmp_path / "out", "validation")[0].numpy(), tests[[1, 2, 3, 4, 8, 9]])


@pytest.mark.parametrize(
    ("splits", "text"),
    [
        ({"train": [0, 1], "valid": [1, 2]}, "with no image in both"),
        ({"valid": [1, 2]}, "expected `train` beside `valid`"),
        ({"train": [0, 99]}, "train: expected positions from 0 to 39, got 99"),
        ({"train": [0, 0]}, "train: a position is given twice"),
        ({"xvalid": [0, 1]}, "expected both `xvalid` and `xtest`"),
        ({"training": [0]}, "expected a mapping with keys of train"),
        ({"train": [0, 4, 8], "valid": [1, 2, 3]}, r"the train split has no image of \['dog', 'elk', 'fox'\]"),
    ],
)
def test_bad_splits(splits: dict[str, list[int]], text: str, cifar: Path, tmp_path: Path) -> None:
    path = split_file(tmp_path / "s.txt", **splits)
    with pytest.raises(DataError, match=text):
        prepare(DataConfig(path=str(cifar), splits=path), tmp_path / "out", 0)


def test_splits_that_are_no_json(cifar: Path, tmp_path: Path) -> None:
    (tmp_path / "s.txt").write_text("train: 0 1 2")
    with pytest.raises(DataError, match=r"s.txt: not a readable file of splits"):
        prepare(DataConfig(path=str(cifar), splits=str(tmp_path / "s.txt")), tmp_path / "out", 0)


def test_imagenet16_with_fewer_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels begin at 1 there, and ImageNet16-120 is its first 120 classes: here the first 3 of 4."""
    known = batches.PUBLISHED["train_data_batch_1"]()
    assert len(known.files["train"]) == 10 and known.height == 16
    for i, name in enumerate([*known.files["train"], *known.files["test"]]):
        data = pickle.dumps(batch(8, 16, "labels", first=1, seed=i))
        (tmp_path / name).write_bytes(data)
        known.checksums[name] = hashlib.md5(data).hexdigest()
    monkeypatch.setitem(batches.PUBLISHED, "train_data_batch_1", lambda: known)
    meta = prepare(DataConfig(name="ImageNet16-120", path=str(tmp_path), classes=3), tmp_path / "out", 0)
    assert meta["shape"] == [3, 16, 16] and meta["classes"] == 3 and meta["flip"] is True
    assert sum(meta["counts"].values()) == 66 and meta["counts"]["test"] == 6
    with pytest.raises(DataError, match=r"data\.classes asks for 5 classes, and there are 4"):
        prepare(DataConfig(path=str(tmp_path), classes=5), tmp_path / "out", 0)


def _folder(root: Path, classes: list[str], each: int, *shape: int) -> None:
    for name in classes:
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(each):
            Image.fromarray(noise(*shape, seed=i)).save(root / name / f"{i}.png")


def test_a_folder_for_each_class(tmp_path: Path) -> None:
    _folder(tmp_path / "pets", ["cat", "dog"], 10, 8, 8, 3)
    meta = prepare(DataConfig(name="pets", path=str(tmp_path / "pets")), tmp_path / "out", 0)
    assert meta["class_names"] == ["cat", "dog"] and meta["counts"] == {"train": 12, "validation": 4, "test": 4}


def test_folders_with_splits_of_their_own(tmp_path: Path) -> None:
    for split, each in (("train", 10), ("val", 4), ("test", 2)):
        _folder(tmp_path / "pets" / split, ["cat", "dog"], each, 8, 8)
    config = DataConfig(path=str(tmp_path / "pets"))
    meta = prepare(config, tmp_path / "out", 0)
    assert meta["counts"] == {"train": 20, "validation": 8, "test": 4} and meta["validation_from"] == "validation"
    (tmp_path / "pets" / "val" / "elk").mkdir()
    with pytest.raises(DataError, match=r"val: expected the classes of .*train, one of both lacks \['elk'\]"):
        prepare(config, tmp_path / "out", 0)
    (tmp_path / "pets" / "train" / "elk").mkdir()
    (tmp_path / "pets" / "test" / "elk").mkdir()
    with pytest.raises(DataError, match=r"/elk: expected images \(.*\.png.*\), found none"):
        prepare(config, tmp_path / "out", 0)


def test_odd_sizes_are_refused_or_scaled(tmp_path: Path) -> None:
    _folder(tmp_path / "pets", ["cat", "dog"], 10, 8, 8, 3)
    Image.fromarray(noise(9, 14, 3)).save(tmp_path / "pets" / "dog" / "3.png")
    Image.fromarray(noise(8, 8)).save(tmp_path / "pets" / "dog" / "4.png")
    with pytest.raises(DataError, match=r"dog/3.png: expected an image like the first, .*; set data\.size"):
        prepare(DataConfig(path=str(tmp_path / "pets")), tmp_path / "out", 0)
    meta = prepare(DataConfig(path=str(tmp_path / "pets"), size=6), tmp_path / "out", 0)
    assert meta["shape"] == [3, 6, 6]


def test_images_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _folder(tmp_path / "pets", ["cat", "dog"], 10, 8, 8)
    config = DataConfig(path=str(tmp_path / "pets"))
    first = prepare(config, tmp_path / "out", 0, tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 1
    monkeypatch.setattr(cache, "stack", lambda *_: pytest.fail("decoded again"))
    assert prepare(config, tmp_path / "out", 0, tmp_path / "cache") == first
    assert prepare(config, tmp_path / "out", 1, tmp_path / "cache")["digest"] != first["digest"]
    monkeypatch.undo()
    Image.fromarray(noise(8, 8, seed=99)).save(tmp_path / "pets" / "cat" / "0.png")
    assert prepare(config, tmp_path / "out", 0, tmp_path / "cache")["digest"] != first["digest"]
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_what_is_loaded_is_shared_and_not_written_to(tmp_path: Path) -> None:
    _folder(tmp_path / "pets", ["cat", "dog"], 10, 8, 8)
    prepare(DataConfig(path=str(tmp_path / "pets")), tmp_path / "out", 0)
    before = (tmp_path / "out" / "train-images.npy").read_bytes()
    images, _ = load(tmp_path / "out", "train")
    images.zero_()
    assert (tmp_path / "out" / "train-images.npy").read_bytes() == before
    (tmp_path / "out" / "train-images.npy").write_bytes(before[:-5])
    with pytest.raises(DataError, match=r"train-images.npy: not a readable array"):
        load(tmp_path / "out", "train")
    np.save(tmp_path / "out" / "train-images.npy", images.numpy().astype(np.float32))
    with pytest.raises(
        DataError, match=r"expected train images uint8 \(12, 8, 8, 1\) and as many labels int64, got float32"
    ):
        load(tmp_path / "out", "train")
