"""A posterior is the same whether its fit is the first of a process or not: a resumed search depends on it."""

import os
import subprocess
import sys

import pytest

CODE = """
import hashlib, sys, warnings
import numpy as np
from llmastool.planner.hyper import Evidence
from llmastool.planner.config import PosteriorConfig
from llmastool.planner.model import sample
from llmastool.planner.threads import one_thread
warnings.simplefilter("ignore")
for number in range(int(sys.argv[1]), 2):
    rng = np.random.default_rng(number)
    roots = rng.normal(size=(5, 120, 30)) / 6
    with one_thread():
        evidence = Evidence.of(roots @ roots.transpose(0, 2, 1), rng.normal(size=120))
        draws, _ = sample(evidence, seed=number, config=PosteriorConfig())
print(hashlib.sha256(draws.scales.tobytes() + draws.noise.tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_a_fit_does_not_depend_on_the_fits_before_it() -> None:
    environment = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    started = [
        subprocess.Popen([sys.executable, "-c", CODE, first], stdout=subprocess.PIPE, text=True, env=environment)
        for first in ("0", "1")
    ]
    second, alone = (process.communicate(timeout=280)[0] for process in started)
    assert second.strip() and second == alone
