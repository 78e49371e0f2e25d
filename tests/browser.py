"""Chromium for tests with the marker `real`, driven through the W3C WebDriver protocol of chromedriver."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.programs import require_program

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1600,1000",
)
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # key of an element in an answer, by the standard
_WAIT_S = 30.0


class Browser:
    """A window of Chromium with an empty profile."""

    def __init__(self, driver: httpx.Client, session: str) -> None:
        self._driver = driver
        self._path = f"/session/{session}"

    def open(self, address: str) -> None:
        """Load a page; returns when it has loaded."""
        self._call("POST", "/url", {"url": address})

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        return self._call("POST", "/execute/sync", {"script": f"return {expression}", "args": []})

    def type(self, selector: str, text: str) -> None:
        """Type `text` into the element; `\\ue007` is the Enter key."""
        found = self._call("POST", "/element", {"using": "css selector", "value": selector})
        self._call("POST", f"/element/{found[_ELEMENT]}/value", {"text": text})

    def click(self, selector: str) -> None:
        """Click on the element."""
        found = self._call("POST", "/element", {"using": "css selector", "value": selector})
        self._call("POST", f"/element/{found[_ELEMENT]}/click", {})

    def wait_until(self, expression: str) -> Any:
        """The first value of the expression that counts as true."""
        return wait_until(lambda: self.run(expression), expression)

    def screenshot(self, path: Path) -> None:
        """Write what the window shows as PNG."""
        path.write_bytes(base64.b64decode(self._call("GET", "/screenshot")))

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        answer = self._driver.request(method, self._path + path, json=body)
        assert answer.status_code == 200, f"{method} {path}: {answer.text[:1000]}"
        return answer.json()["value"]


@contextmanager
def running_browser(folder: Path) -> Iterator[Browser]:
    """A browser that runs until the end of the block; `folder`, which is empty, holds its profile and a log."""
    chromium = require_program("chromium")
    driver = require_program("chromedriver", package="chromium-driver")
    log = folder / "chromedriver.log"
    # This project sets a file without fonts, with which Chromium ends at the first text field.
    environment = {name: value for name, value in os.environ.items() if name != "FONTCONFIG_FILE"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [driver, "--port=0"], env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        port = wait_until(lambda: _port_in(log.read_text()), "chromedriver names its port")
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
            options = {"binary": chromium, "args": [*_FLAGS, f"--user-data-dir={folder / 'profile'}"]}
            wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
            made = client.post("/session", json=wanted)
            assert made.status_code == 200, made.text[:1000]
            session = made.json()["value"]["sessionId"]
            try:
                yield Browser(client, session)
            finally:
                client.delete(f"/session/{session}")
    finally:
        process.terminate()
        process.wait(timeout=30)


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    """The first result of `condition` that counts as true."""
    deadline = time.monotonic() + _WAIT_S
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not true in time: {what}"
        time.sleep(0.05)
    return found


def _port_in(log: str) -> int | None:
    found = re.search(r"started successfully on port (\d+)", log)
    return int(found[1]) if found else None
