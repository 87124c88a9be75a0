"""Log the winner in MLflow's registry of models: its code, its weights, what goes in and what comes out."""

from __future__ import annotations

import importlib.metadata
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from llmastool.canonical import Json, read_json

if TYPE_CHECKING:
    import numpy as np
    from mlflow.models import ModelSignature
    from numpy.typing import NDArray


def log_model(uri: str, run: str, final: Path, data: Path, model: str) -> str:
    """Log the model in a run and register it; return its version. The exported file is copied, not run here.

    Args:
        uri: address of MLflow's database.
        run: id of the run that it is logged in.
        final: folder that the final stage wrote: `best.py`, `best.json`, `weights.safetensors`.
        data: folder of the prepared image set.
        model: name in MLflow's registry of models.
    """
    with _without_advice():
        import mlflow.pyfunc

        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        signature, example = _signature(read_json(data / "meta.json"))
        with mlflow.start_run(run_id=run):
            info = mlflow.pyfunc.log_model(
                name="champion",
                python_model=str(Path(__file__).with_name("champion.py")),
                artifacts={
                    "code": str(final / "best.py"),
                    "tree": str(final / "best.json"),
                    "weights": str(final / "weights.safetensors"),
                    "data": str(data / "meta.json"),
                },
                signature=signature,
                input_example=example,
                pip_requirements=_requirements(),
                registered_model_name=model,
            )
    return str(info.registered_model_version)


@contextmanager
def _without_advice() -> Iterator[None]:
    """Leave out MLflow's warnings on type hints. It gives them on its own code too, and in places undoes filters."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("ignore", message="(?i).*type hint")
        yield
    for warning in caught:
        if "type hint" not in str(warning.message):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def _signature(meta: Mapping[str, Json]) -> tuple[ModelSignature, NDArray[np.uint8]]:
    """Return what goes in and comes out, and an example: two images, as one alone could freeze the batch."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    shape = tuple(meta["shape"])
    images = TensorSpec(np.dtype("uint8"), (-1, *shape))
    logits = TensorSpec(np.dtype("float32"), (-1, meta["classes"]))
    return ModelSignature(Schema([images]), Schema([logits])), np.zeros((2, *shape), dtype=np.uint8)


def _requirements() -> list[str]:
    """Return what the model needs beside MLflow, in the versions it was made with."""
    names = ("torch", "safetensors", "numpy")
    return [f"{name}=={importlib.metadata.version(name)}" for name in names]
