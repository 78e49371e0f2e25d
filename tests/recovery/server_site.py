"""A real server or cluster with a home: commands and a service on it, and what they leave there."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.conftest import write_archive, write_tiny_bundle
from tests.qdrant.node import QdrantNode
from tests.recovery.kill_driver import Driver
from tests.recovery.state import State, read_node

NAME = "cxr_tiny"
STUDIES = 28


@dataclass(frozen=True)
class Ended:
    """Exit code and output of a command."""

    code: int
    output: str

    def __str__(self) -> str:
        return f"exit code {self.code}\n{self.output}"


class Site:
    """A real server, and a home with one model, whose collection lies in the embedded index and in a snapshot."""

    def __init__(self, folder: Path, node: QdrantNode, driver: Driver) -> None:
        self.node = node
        self.folder = folder
        self._driver = driver
        self.home = folder / "home"
        self.snapshot = folder / "tiny.zip"
        write_tiny_bundle(self.home / "models", "tiny", seed=0)
        archive = write_archive(folder / "archive", STUDIES)
        options = [text for name, path in archive.items() for text in (f"--{name.replace('_', '-')}", str(path))]
        self.ingest = ["ingest", "--model", "tiny", "--batch-size", "4", *options]
        for command in (self.ingest, ["snapshot", "create", "tiny", str(self.snapshot)]):
            assert self.run(command, index=str(self.home / "index")).code == 0
        shutil.rmtree(self.home / "ledger")

    def run(self, arguments: list[str], *, patience_s: int = 60, index: str | None = None) -> Ended:
        """Run a command on the server, or on another `index`."""
        log = self._driver.log
        before = log.stat().st_size if log.exists() else 0
        environment = {
            "CXR_HOME": str(self.home),
            "CXR_INDEX": index or self.node.url,
            "CXR_INDEX_TIMEOUT_S": "3",
            "CXR_INDEX_PATIENCE_S": str(patience_s),
            "CXR_THREADS": "1",
        }
        code = self._driver.run(arguments, environment)
        with log.open("rb") as file:
            file.seek(before)
            return Ended(code, file.read().decode(errors="replace"))

    def doctor(self) -> Ended:
        """What `cxr doctor` says of the server."""
        return self.run(["doctor"], patience_s=0)

    def empty(self) -> None:
        """Remove everything from the server, and the ledgers of this machine."""
        self.node.drop_all()
        shutil.rmtree(self.home / "ledger", ignore_errors=True)

    def state(self) -> State:
        """Points and record of the collection on the server."""
        return read_node(self.node, NAME)


@dataclass(frozen=True)
class Service:
    """`cxr serve` in a process of its own, and a client of it."""

    process: subprocess.Popen[bytes]
    client: httpx.Client
    log: Path

    def search(self) -> httpx.Response:
        """The answer to one search for text."""
        return self.client.post("/v1/search/text", json={"text": "heart enlarged", "k": 5})


@contextmanager
def running_service(home: Path, index: str, log: Path, **settings: str) -> Iterator[Service]:
    """A service on the server `index` until the end of the block."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CXR_")}
    own = {"CXR_HOME": str(home), "CXR_INDEX": index, "CXR_DEVICE": "cpu", "CXR_SERVICE_RATE_PER_MINUTE": "0"}
    command = [sys.executable, "-m", "cxr", "serve", "--port", "0"]
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=kept | own | settings, stdout=file, stderr=file)
    try:
        deadline = time.monotonic() + 60
        while not (found := re.search(r"http://\S+:(\d+)", log.read_text())):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        with httpx.Client(base_url=f"http://127.0.0.1:{found[1]}", timeout=60, trust_env=False) as client:
            yield Service(process, client, log)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
