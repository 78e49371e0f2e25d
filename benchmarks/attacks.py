"""Measures a service under attack: health, searches with a key, memory, and the time to stop on SIGTERM.

    python -m benchmarks.attacks

`cxr serve` runs with its default limits and the usual limit of 1,024 open files. Each attack lasts `--seconds` and comes
from 127.0.0.1. During it one client calls `/health/live`, and one searches with a key. SIGTERM is sent during the attack.
Targets: `/health/live` answers within 1 s, no search fails, the service stops within its grace period (8 s), and its
memory, decoding processes included, rises by at most 2 GB.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import httpx

from benchmarks.bad_images import BAD_IMAGES
from benchmarks.connections import HALF, HELD, Flood
from benchmarks.result_file import write_result
from benchmarks.service_process import free_port, wait_until_ready

MODEL = "phantom-clip"
UPLOADS = 16
OPEN_FILES = 1_024
SOCKETS = {f"{HELD} idle sockets": b"", f"{HELD} half request heads": HALF}
IMAGES = {f"{UPLOADS} at once: {name}": make for name, make in BAD_IMAGES.items()}


def main() -> None:
    """Run each attack against a new service."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="duration of each attack (default: %(default)s)")
    parser.add_argument("--only", help="run only attacks whose name contains this")
    arguments = parser.parse_args()
    measured = {}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        key = make_home(home)
        for name in (*SOCKETS, *IMAGES):
            if not arguments.only or arguments.only in name:
                measured[name] = measure(home, key, name, arguments.seconds)
                print(name, json.dumps(measured[name]), file=sys.stderr, flush=True)
    write_result(
        "attacks", {"model": MODEL, "seconds": arguments.seconds, "open_files": OPEN_FILES, "attacks": measured}
    )


def make_home(home: Path) -> str:
    """Make a home with a few phantoms in the collection of a demo model; returns a key with the scope `read`."""
    archive = home.parent / "phantoms"
    run(home, "phantoms", str(archive), "--studies", "20")
    run(home, "ingest", "--model", MODEL, "--images-dir", str(archive / "images"))
    run(home, "use", MODEL)
    made = run(home, "keys", "create", "measured", "--scope", "read")
    return next(word for word in made.split() if word.startswith("cxr_"))


def run(home: Path, *arguments: str) -> str:
    """The output of a `cxr` command."""
    command = [sys.executable, "-m", "cxr", *arguments]
    environment = os.environ | {"CXR_HOME": str(home), "COLUMNS": "200"}
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


@contextmanager
def serving(home: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Process and port of a `cxr serve` with default settings and the usual limit of open files."""
    port = free_port()
    command = [sys.executable, "-m", "cxr", "serve", "--port", str(port)]
    limit = partial(resource.setrlimit, resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    environment = os.environ | {"CXR_HOME": str(home), "CXR_SERVICE_RATE_PER_MINUTE": "0"}
    with (home / "serve.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, preexec_fn=limit)
    try:
        wait_until_ready(process, port, home / "serve.log")
        yield process, port
    finally:
        process.kill()
        process.wait()


@contextmanager
def attacking(name: str, port: int, key: str, statuses: Path) -> Iterator[None]:
    """Attack from another process, so that its threads do not delay the measuring ones."""
    attacker = get_context("spawn").Process(target=attack, args=(name, port, key, statuses), daemon=True)
    attacker.start()
    try:
        while not statuses.exists():
            time.sleep(0.1)
        yield
    finally:
        attacker.kill()
        attacker.join()
        statuses.unlink()


def attack(name: str, port: int, key: str, statuses: Path) -> None:
    """Attack until this process is killed; write the status codes of uploads to a file."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most if most < 8192 else 8192, most))
    if name in SOCKETS:
        statuses.write_text("{}", encoding="utf-8")
        Flood(port, SOCKETS[name]).run(lambda: False)
    data, counts = IMAGES[name](), Counter[str]()

    def send() -> None:
        while True:
            counts[request(port, key, "POST", "/v1/search/image", files={"image": ("a", data)})] += 1

    for _ in range(UPLOADS):
        threading.Thread(target=send, daemon=True).start()
    while True:
        statuses.write_text(json.dumps(counts), encoding="utf-8")
        time.sleep(0.5)


def request(port: int, key: str, method: str, path: str, **content: Any) -> str:
    """The status code of a request with the key on a new connection, or the name of the error."""
    try:
        answer = httpx.request(
            method, f"http://127.0.0.1:{port}{path}", headers={"x-api-key": key}, timeout=60, **content
        )
        return str(answer.status_code)
    except httpx.HTTPError as error:
        return type(error).__name__


class Monitor:
    """Times one request after the other. An open request counts with its time so far."""

    def __init__(self, send: Callable[[], str]) -> None:
        self.statuses: Counter[str] = Counter()
        self.ended = False
        self.send = send
        self._slowest_s = 0.0
        self._since: float | None = None

    def run(self) -> None:
        """Send a request ten times a second, until `ended`."""
        while not self.ended:
            self._since = time.perf_counter()
            status = self.send()
            self._slowest_s = self.slowest_s()
            self._since = None
            self.statuses[status] += 1
            time.sleep(0.1)

    def slowest_s(self) -> float:
        """Duration of the slowest answer."""
        since = self._since
        return max(self._slowest_s, time.perf_counter() - since if since else 0.0)


def measure(home: Path, key: str, name: str, seconds: float) -> dict[str, Any]:
    """Health, searches and memory during one attack, and the time that the service then takes to stop."""
    with serving(home) as (process, port):
        texts = (f"heart {number}" for number in itertools.count())  # new texts, which must be encoded
        health = Monitor(lambda: request(port, key, "GET", "/health/live"))
        search = Monitor(lambda: request(port, key, "POST", "/v1/search/text", json={"text": next(texts), "k": 1}))
        for _ in range(5):
            search.send()
        idle_mb, peak_mb = memory_mb(process.pid), 0.0
        with attacking(name, port, key, home / "statuses.json"):
            for monitor in (health, search):
                threading.Thread(target=monitor.run, daemon=True).start()
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                peak_mb = max(peak_mb, memory_mb(process.pid))
                time.sleep(0.05)
            figures: dict[str, Any] = {
                "health_slowest_s": round(health.slowest_s(), 2),
                "search_slowest_s": round(search.slowest_s(), 2),
                "idle_mb": round(idle_mb),
                "peak_above_idle_mb": round(peak_mb - idle_mb),
                "health": dict(health.statuses),
                "searches": dict(search.statuses),
                "attack": json.loads((home / "statuses.json").read_text() or "{}"),
            }
            health.ended = search.ended = True
            start = time.perf_counter()
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=60)
                figures["ends_s"] = round(time.perf_counter() - start, 2)
            except subprocess.TimeoutExpired:
                figures["ends_s"] = "over 60: killed"
    return figures


def memory_mb(pid: int) -> float:
    """Resident memory of a process and its children in MB; shared pages count once."""
    total, pids = 0, [pid]
    for each in pids:
        try:
            for thread in Path(f"/proc/{each}/task").iterdir():
                pids += map(int, (thread / "children").read_text().split())
            rollup = Path(f"/proc/{each}/smaps_rollup").read_text()
        except OSError:  # it has ended
            continue
        total += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return total / 1024


if __name__ == "__main__":
    main()
