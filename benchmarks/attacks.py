"""What others notice while somebody attacks the service: health, searches with a key, memory, and the end on SIGTERM.

    python -m benchmarks.attacks

`cxr serve` runs as users run it, with its default limits and a usual limit of 1,024 open files. Each attack lasts for
`--seconds`; meanwhile one client asks `/health/live`, and one searches with a key. Then SIGTERM comes while the attack goes
on. Attacks come from 127.0.0.1 alone. Targets: an answer of `/health/live` within 1 s, no failed search, the end within the
grace period (8 s), and at most 2 GB above the memory of the idle service, its processes for decoding included.
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
from benchmarks.record import write_result
from benchmarks.service_process import free_port, wait_until_ready

MODEL = "phantom-clip"
UPLOADS = 16
OPEN_FILES = 1_024
SOCKETS = {f"{HELD} idle sockets": b"", f"{HELD} half request heads": HALF}
IMAGES = {f"{UPLOADS} at once: {name}": make for name, make in BAD_IMAGES.items()}


def main() -> None:
    """Run each attack against a service of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each attack (default: %(default)s)")
    parser.add_argument("--only", help="a word in the names of the attacks to run")
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
    """A home with a few phantoms in the collection of a demo model, and a key that may search; returns the key."""
    archive = home.parent / "phantoms"
    run(home, "phantoms", str(archive), "--studies", "20")
    run(home, "ingest", "--model", MODEL, "--images-dir", str(archive / "images"))
    run(home, "use", MODEL)
    made = run(home, "keys", "create", "measured", "--scope", "read")
    return next(word for word in made.split() if word.startswith("cxr_"))


def run(home: Path, *arguments: str) -> str:
    """What a command of `cxr` prints."""
    command = [sys.executable, "-m", "cxr", *arguments]
    environment = os.environ | {"CXR_HOME": str(home), "COLUMNS": "200"}
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


@contextmanager
def serving(home: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """`cxr serve` with its defaults and the usual limit of open files: the process and its port."""
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
    """Attack from a process of its own, whose threads must not delay those that watch."""
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
    """Attack until this process is killed, and keep the statuses of uploads in a file."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most if most < 8192 else 8192, most))
    if name in SOCKETS:
        statuses.write_text("{}")
        Flood(port, SOCKETS[name]).run(lambda: False)
    data, counts = IMAGES[name](), Counter[str]()

    def send() -> None:
        while True:
            counts[request(port, key, "POST", "/v1/search/image", files={"image": ("a", data)})] += 1

    for _ in range(UPLOADS):
        threading.Thread(target=send, daemon=True).start()
    while True:
        statuses.write_text(json.dumps(counts))
        time.sleep(0.5)


def request(port: int, key: str, method: str, path: str, **content: Any) -> str:
    """The status of a request with the key, on a connection of its own, or the name of what went wrong."""
    try:
        answer = httpx.request(
            method, f"http://127.0.0.1:{port}{path}", headers={"x-api-key": key}, timeout=60, **content
        )
        return str(answer.status_code)
    except httpx.HTTPError as error:
        return type(error).__name__


class Watch:
    """Times one request after the other; one that has no answer yet counts as long as it has run."""

    def __init__(self, ask: Callable[[], str]) -> None:
        self.statuses: Counter[str] = Counter()
        self.ended = False
        self.ask = ask
        self._slowest_s = 0.0
        self._since: float | None = None

    def run(self) -> None:
        """Ask ten times a second, until `ended`."""
        while not self.ended:
            self._since = time.perf_counter()
            status = self.ask()
            self._slowest_s = self.slowest_s()
            self._since = None
            self.statuses[status] += 1
            time.sleep(0.1)

    def slowest_s(self) -> float:
        """Seconds that the slowest answer took."""
        since = self._since
        return max(self._slowest_s, time.perf_counter() - since if since else 0.0)


def measure(home: Path, key: str, name: str, seconds: float) -> dict[str, Any]:
    """Health, searches and memory during one attack, and how long the service takes to end in it."""
    with serving(home) as (process, port):
        texts = (f"heart {number}" for number in itertools.count())  # each is encoded: none has been asked before
        health = Watch(lambda: request(port, key, "GET", "/health/live"))
        search = Watch(lambda: request(port, key, "POST", "/v1/search/text", json={"text": next(texts), "k": 1}))
        for _ in range(5):
            search.ask()
        idle_mb, peak_mb = memory_mb(process.pid), 0.0
        with attacking(name, port, key, home / "statuses.json"):
            for watch in (health, search):
                threading.Thread(target=watch.run, daemon=True).start()
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
    """Resident memory of a process and its children in MB; what they share counts once."""
    total, pids = 0, [pid]
    for each in pids:
        try:
            for thread in Path(f"/proc/{each}/task").iterdir():
                pids += map(int, (thread / "children").read_text().split())
            rollup = Path(f"/proc/{each}/smaps_rollup").read_text()
        except OSError:  # it has just ended
            continue
        total += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return total / 1024


if __name__ == "__main__":
    main()
