"""The winner as an MLflow model. MLflow copies this file into the model and runs it there, so it imports no project.

The model takes raw images, uint8 `(n, C, H, W)`, and gives logits, float32 `(n, classes)`.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np


class Champion(mlflow.pyfunc.PythonModel):
    """The exported network with its trained weights and the normalisation that it was trained with."""

    def load_context(self, context: Any) -> None:
        """Build the network from the exported file and load its weights."""
        from safetensors.torch import load_file

        spec = importlib.util.spec_from_file_location("champion_network", context.artifacts["code"])
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.net = module.build_model()
        self.net.load_state_dict(load_file(context.artifacts["weights"]))
        self.net.eval()
        self.meta = json.loads(Path(context.artifacts["data"]).read_text())

    # MLflow would take type hints for a schema of rows; the model's signature says what goes in.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def] # noqa: ARG002
        """Map images, uint8 `(n, C, H, W)`, to logits, float32 `(n, classes)`."""
        import torch

        mean, std = (torch.tensor(self.meta[name]).view(1, -1, 1, 1) * 255 for name in ("mean", "std"))
        images = torch.from_numpy(np.asarray(model_input)).float()
        with torch.inference_mode():
            return self.net((images - mean) / std).numpy()


mlflow.models.set_model(Champion())
