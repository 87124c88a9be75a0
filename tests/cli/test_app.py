"""The program as a whole: quick, and clear about what is the user's to mend."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run, program

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"torch", "polars", "numpy", "prefect", "mlflow", "tree_sitter", "yaml", "pymc", "openai"}


@pytest.mark.parametrize(
    "argv", [("--help",), ("mine", "--help"), ("registry", "--help"), ("registry", "find", "--help")]
)
def test_help_imports_nothing_heavy(argv: tuple[str, ...]) -> None:
    code = (
        "import sys\nfrom llmastool.cli.app import main\n"
        f"try:\n    main({list(argv)!r})\nexcept SystemExit as end:\n    assert end.code == 0\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert done.stdout.startswith("usage: llmastool")


def test_the_program_of_the_package_is_this_one() -> None:
    import tomllib

    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"llmastool": "llmastool.cli.app:main"}


def test_queries_do_not_import_pytorch(registry_folder: Path) -> None:
    code = (
        "import sys\nfrom llmastool.cli.app import main\n"
        "assert main([*sys.argv[1:3], '--registry', sys.argv[3], *sys.argv[4:]]) == 0\n"
        "assert not {'torch', 'numpy'} & set(sys.modules)"
    )
    for argv in (["ls"], ["show", "Gate"], ["find", "--in", "2,64,16,16", "--out", "2,64,16,16"]):
        whole = [sys.executable, "-c", code, "registry", argv[0], str(registry_folder), *argv[1:]]
        done = subprocess.run(whole, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("argv", [(), ("registry",), ("nothing",), ("registry", "ls", "--limit", "0")])
def test_what_cannot_be_parsed_ends_with_status_2(argv: tuple[str, ...]) -> None:
    done = program(*argv)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("usage: llmastool") and "Traceback" not in done.stderr


def test_a_reader_that_stops_reading_is_no_error(registry_folder: Path) -> None:
    command = [sys.executable, "-m", "llmastool.cli", "registry", "ls", "--json", "--registry", str(registry_folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (141, "")


def test_a_file_that_cannot_be_written_is_named(run: Run, tmp_path: Path, small_source: Path) -> None:
    (tmp_path / "file").write_text("")
    out, cache = str(tmp_path / "file" / "out"), str(tmp_path / "cache")
    status, _, err = run("mine", "--source", f"path:{small_source}", "--out", out, "--cache", cache)
    assert status == 2
    assert err.startswith("llmastool: ") and str(tmp_path / "file") in err and len(err.splitlines()) == 1
