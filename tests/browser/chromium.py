"""Headless Chromium for tests of pages."""

import shutil
import subprocess
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip


def browse(url: str, profile: Path, *flags: str) -> str:
    """Open a page, wait until its scripts have settled, and return what Chromium prints (`--dump-dom`: the page)."""
    assert CHROMIUM is not None
    argv = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", *flags, url]
    return subprocess.run(argv, capture_output=True, text=True, timeout=180, check=True).stdout
