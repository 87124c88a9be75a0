"""Chromium driven over its own protocol: pages opened, asked, pressed and photographed, by the clock on the wall."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import connect
from websockets.sync.connection import Connection

from tests.browser.chromium import CHROMIUM, FLAGS

START_SECONDS = 60


class Tab:
    """One page of a running Chromium."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._last = connection, 0
        self.call("Page.enable")

    def call(self, method: str, **values: Any) -> Any:
        """Call a method of the protocol and return its result."""
        self._last += 1
        self._connection.send(json.dumps({"id": self._last, "method": method, "params": values}))
        while True:
            answer = json.loads(self._connection.recv(timeout=60))
            if answer.get("id") == self._last:
                assert "error" not in answer, answer
                return answer["result"]

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression in the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def open(self, url: str, shown: str, seconds: float = 60.0) -> float:
        """Open a page and return the seconds until a JavaScript expression holds in it."""
        start = time.monotonic()
        self.call("Page.navigate", url=url)
        while not self.evaluate(f"document.readyState === 'complete' && Boolean({shown})"):
            assert time.monotonic() - start < seconds, f"{url}: not shown after {seconds} s: {shown}"
            time.sleep(0.02)
        return time.monotonic() - start

    def photograph(self, path: Path, width: int = 1280, height: int = 900) -> None:
        """Write what the page shows as PNG."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        time.sleep(0.3)
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def browser(profile: Path) -> Iterator[Tab]:
    """Have a Chromium of one's own for a while.

    Args:
        profile: folder that it writes to.
    """
    assert CHROMIUM is not None
    argv = [CHROMIUM, *FLAGS, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            with connect(_address(profile), max_size=None) as connection:
                yield Tab(connection)
        finally:
            process.kill()


def _address(profile: Path) -> str:
    """Return the address of the first page, once the browser is up."""
    import urllib.request

    deadline = time.monotonic() + START_SECONDS
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline:
        port = profile / "DevToolsActivePort"
        if port.exists() and (lines := port.read_text().splitlines()):
            with opener.open(f"http://127.0.0.1:{lines[0]}/json", timeout=10) as answer:
                pages = [page for page in json.load(answer) if page["type"] == "page"]
            if pages:
                return str(pages[0]["webSocketDebuggerUrl"])
        time.sleep(0.1)
    raise AssertionError(f"Chromium did not start within {START_SECONDS} s")
