"""Runs with NN-RAG on its path: extract every block of its repositories, one after the other, by its public interface.

    python nnrag_run.py SOURCES OUT     writes a line for the start, one for the index, one for each block

It is started by `benchmarks.nnrag`, which has put the sources where NN-RAG looks for them. It imports nothing of
this project. Blocks that OUT names already are passed over, so that it can be started again after a crash.
"""

import json
import resource
import sys
import time
from pathlib import Path


def cpu() -> float:
    """Return the CPU time of this process so far, in seconds."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Extract all blocks."""
    sources, out = json.loads(sys.argv[1]), Path(sys.argv[2])
    known = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    with out.open("a") as file:

        def tell(**values: object) -> None:
            file.write(json.dumps(values) + "\n")
            file.flush()

        started = cpu()
        from ab.rag import BlockExtractor  # type: ignore[import-not-found]
        from ab.rag.make_blocks_name import build_nn_block_names  # type: ignore[import-not-found]
        from ab.rag.utils.path_resolver import get_config_file_path  # type: ignore[import-not-found]

        tell(did="import", cpu=cpu() - started)
        config = get_config_file_path("repo_config.json")
        config.parent.mkdir(parents=True, exist_ok=True)
        names: dict[str, str] = {}
        repositories = {f"local/{s}": {"url": "none", "priority": 1, "paths": paths} for s, paths in sources.items()}
        for repository, settings in repositories.items():
            config.write_text(json.dumps({repository: settings}))
            for name in build_nn_block_names(config, False, False, True, [], True, []):
                names.setdefault(name, repository.removeprefix("local/"))
        config.write_text(json.dumps(repositories))
        started = cpu()
        extractor = BlockExtractor(project_dir=out.parent)
        assert extractor.warm_index_once()
        tell(did="index", cpu=cpu() - started)
        validation = [0.0]
        validate = extractor.validator.validate_single_block

        def timed(name: str) -> object:
            before = cpu()
            try:
                return validate(name)
            finally:
                validation[0] += cpu() - before

        extractor.validator.validate_single_block = timed
        done = {line.get("block") for line in known} | {line.get("begins") for line in known}
        for name, source in names.items():
            if name in done:
                continue
            tell(begins=name)
            before, validation[0], began = cpu(), 0.0, time.monotonic()
            result = extractor.extract_single_block(name)
            valid = (result.get("validation") or {}).get("valid") is True
            spent = {"cpu": cpu() - before, "validation": validation[0], "wall": time.monotonic() - began}
            tell(block=name, source=source, success=result.get("success") is True, valid=valid, **spent)


if __name__ == "__main__":
    main()
