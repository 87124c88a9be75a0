"""The final stage: who gets there, what is tested, and what is written; with real trainings."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from llmastool import final
from llmastool.archive import Entry, write_archive
from llmastool.candidate import Candidate
from llmastool.canonical import read_json
from llmastool.errors import ConfigError, DataError
from llmastool.outcome import Outcome
from llmastool.params import Params
from llmastool.training import job as training
from llmastool.training.data import load, load_meta, prepare
from llmastool.trees.build import build
from llmastool.trees.catalog import Catalog
from llmastool.trees.observe import Network
from llmastool.trees.tree import Tree

PARAMS = """
data: {path: assets/digits, limit: 200}
mining: {sources: [{kind: path, path: /nowhere}]}
training: {recipe: {epochs: 1, batch_size: 32, lr: 0.05}, seconds: 60}
final: {top: 2, seeds: [3, 4], epochs: 2}
"""


def entry(catalog: Catalog, tree: Tree, index: int, accuracy: float | None) -> Entry:
    candidate = Candidate(tree=tree, round=0, index=index, parent=None, change="start", plan=None, fill=None)
    metrics = {"validation_accuracy": accuracy} if accuracy is not None else {}
    outcome = Outcome(candidate=tree.id, gate="ok" if metrics else "numerics", metrics=metrics)
    return Entry(candidate, Network(tree, catalog, (2, 1, 8, 8)).profile, outcome)


def net(catalog: Catalog, width: int) -> Tree:
    mined = Tree(catalog.by_name("tiny.nets.Block"), {"in_channels": 1, "out_channels": width})
    tail = (("1", Tree("torch.nn.AdaptiveAvgPool2d", {"output_size": 1})), ("2", Tree("torch.nn.Flatten")))
    head = ("3", Tree("torch.nn.Linear", {"in_features": width, "out_features": 10}))
    return Tree("torch.nn.Sequential", {}, (("0", mined), *tail, head))


def test_the_best_by_validation_are_trained_and_tested_and_the_winner_exported(
    registry_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "params.yaml").write_text(PARAMS)
    params = Params.load(tmp_path / "params.yaml")
    data, catalog = tmp_path / "data", Catalog.open(registry_folder)
    prepare(params.data, data, params.seed)
    entries = [
        entry(catalog, net(catalog, w), i, a) for i, (w, a) in enumerate([(4, 50.0), (6, 70.0), (8, None), (10, 60.0)])
    ]
    write_archive(tmp_path / "search", entries, 0, load_meta(data), [])
    archive = tmp_path / "search" / "archive.json"
    chosen = final.finalists(archive, params.final)
    assert [c.id for c in chosen] == [entries[1].candidate.id, entries[3].candidate.id]

    results = []
    for candidate in chosen:
        trainings = []
        for seed in params.final.seeds:
            job = final.final_job(candidate, seed, params, registry_folder, data)
            assert (job.train_on, job.evaluate_on, job.recipe.epochs) == ("train+validation", "test", 2)
            folder = tmp_path / "trials" / f"{candidate.id}-{seed}"
            trainings.append((seed, training.run(job, folder, params.training), folder))
        results.append((candidate, trainings))
    out = tmp_path / "final"
    metrics = final.write(out, archive, results, registry_folder, data)

    written = read_json(out / "final.json")
    first = written["finalists"][0]["test_accuracy"]
    tested = [o.metrics["test_accuracy"] for _, o, _ in results[0][1]]
    assert written["best"] == chosen[0].id
    assert first["mean"] == pytest.approx(sum(tested) / 2) and metrics["test_accuracy_mean"] == first["mean"]
    assert [s["seed"] for s in first["seeds"]] == [3, 4]
    (origin,) = written["origins"].values()
    assert origin["name"] == "tiny.nets.Block" and origin["path"] == "nets.py"

    weights = load_file(out / "weights.safetensors")
    built = build(chosen[0].tree, catalog)
    built.load_state_dict(weights)
    x = torch.randn((4, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.save({"x": x, "weights": weights, "out": built.eval()(x)}, tmp_path / "given.pt")
    code = (
        "import sys, torch; sys.path.insert(0, sys.argv[1]); import best\n"
        "given = torch.load(sys.argv[2]); net = best.build_model(); net.load_state_dict(given['weights'])\n"
        "assert 'llmastool' not in sys.modules\n"
        "with torch.no_grad(): print(torch.equal(net.eval()(given['x']), given['out']))\n"
    )
    argv = [sys.executable, "-I", "-c", code, str(out), str(tmp_path / "given.pt")]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip() == "True"

    stated = written["input"]
    assert f"mean = {stated['mean']}" in (out / "best.py").read_text()
    images, labels = load(data, "test")
    mean, std = (torch.tensor(stated[name]).view(1, -1, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        right = built.eval()((images / 255 - mean) / std).argmax(1) == labels
    assert right.double().mean().item() * 100 == pytest.approx(tested[0], abs=0.3), "as the file says that it is used"

    late = [(seed, Outcome(candidate=chosen[1].id, gate="timeout"), folder) for seed, _, folder in results[1][1]]
    metrics = final.write(out, archive, [(chosen[1], late)], registry_folder, data)
    assert metrics["seeds"] == 0 and metrics["test_accuracy_mean"] is None
    assert not (out / "weights.safetensors").exists(), "those of another winner"


def test_the_finalists_are_those_that_are_believed_to_be_best(registry_folder: Path, tmp_path: Path) -> None:
    catalog = Catalog.open(registry_folder)
    entries = [
        entry(catalog, net(catalog, w), i, a) for i, (w, a) in enumerate([(4, 70.0), (6, 69.0), (8, None), (10, 60.0)])
    ]
    first, second, _, fourth = (e.candidate.id for e in entries)

    def chosen(estimates: dict[str, float]) -> list[str]:
        write_archive(tmp_path, entries, 0, {"name": "x"}, [], estimates=estimates)
        return [c.id for c in final.finalists(tmp_path / "archive.json", final.FinalConfig(top=2))]

    assert chosen({first: 64.0, second: 66.0, fourth: 61.0}) == [second, first]
    assert chosen({}) == [first, second]


def test_without_a_trained_candidate_there_is_no_final(registry_folder: Path, tmp_path: Path) -> None:
    catalog = Catalog.open(registry_folder)
    write_archive(tmp_path, [entry(catalog, net(catalog, 4), 0, None)], 0, {"name": "x"}, [])
    with pytest.raises(DataError, match="at least one candidate that was trained to the end, found none"):
        final.finalists(tmp_path / "archive.json", final.FinalConfig())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"top": 0}, "top: expected 1 or more"),
        ({"seeds": ()}, "at least one seed"),
        ({"seeds": (1, 1)}, "different seeds"),
    ],
)
def test_configuration_is_checked(args: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        final.FinalConfig(**args)  # type: ignore[arg-type]
