"""Garbage is collected by no thread that does something else."""

import subprocess
import sys

CYCLES = """
import gc, threading, time
from flows.garbage import collect_aside

class Cycle:
    found = set()
    def __init__(self):
        self.itself = self
    def __del__(self):
        self.found.add(threading.current_thread().name)

collect_aside()
end = time.monotonic() + 30
while not Cycle.found and time.monotonic() < end:
    for _ in range(10_000):
        Cycle()
    time.sleep(0.01)
print(Cycle.found)
"""


def test_garbage_is_collected_by_a_thread_of_its_own() -> None:
    done = subprocess.run([sys.executable, "-c", CYCLES], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "{'garbage'}\n", done.stderr
