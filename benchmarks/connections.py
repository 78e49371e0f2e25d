"""Measures a running service while a client holds 1,100 connections and reopens those that the service closes.

    python -m benchmarks.connections PORT PID

The service must listen on 127.0.0.1, need no key and have no rate limit. For 20 s the connections are idle, then for 20 s
they send half of a request head. Another client calls `/health/live` on new connections and searches on a kept one. Prints
the latency of both, the open files of the service and its CPU time.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import resource
import selectors
import socket
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import suppress

HELD = 1100
SECONDS = 20.0
HALF = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Half: "


class Flood:
    """Connections that are held open, and opened again when the service closes them."""

    def __init__(self, port: int, content: bytes) -> None:
        self.opened = 0
        self._port = port
        self._content = content
        self._held = selectors.DefaultSelector()

    def run(self, ended: Callable[[], bool]) -> None:
        for _ in range(HELD):
            self._open()
        while not ended():
            for key, _ in self._held.select(0.2):
                connection: socket.socket = key.fileobj  # type: ignore[assignment]
                try:
                    gone = not connection.recv(4096)
                except OSError:
                    gone = True
                if gone:
                    self._held.unregister(connection)
                    connection.close()
                    self._open()
            time.sleep(0.005)
        for key in list(self._held.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]

    def _open(self) -> None:
        connection = socket.socket()
        connection.setblocking(False)
        connection.connect_ex(("127.0.0.1", self._port))
        with suppress(OSError):  # not connected yet, so it stays idle
            connection.send(self._content)
        self._held.register(connection, selectors.EVENT_READ)
        self.opened += 1


class Client:
    """Sends four requests a second and records their latency."""

    def __init__(self, port: int, *, keep: bool) -> None:
        self.seconds: list[float] = []
        self.failed = 0
        self._port = port
        self._keep = keep
        self._connection: http.client.HTTPConnection | None = None

    def run(self, end: float, path: str, text: str | None = None) -> None:
        while time.monotonic() < end:
            begun = time.monotonic()
            try:
                self._ask(path, json.dumps({"text": f"{text} {len(self.seconds)}", "k": 1}) if text else None)
                self.seconds.append(time.monotonic() - begun)
            except (OSError, http.client.HTTPException):
                self.failed += 1
                self._connection = None
            time.sleep(0.25)

    def _ask(self, path: str, body: str | None) -> None:
        connection = self._connection or http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        self._connection = connection if self._keep else None
        connection.request("POST" if body else "GET", path, body, {"Content-Type": "application/json"} if body else {})
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise http.client.HTTPException(f"{path} answered {answer.status}")

    def __str__(self) -> str:
        if not self.seconds:
            return f"no answer, {self.failed} failed"
        median, longest = statistics.median(self.seconds) * 1000, max(self.seconds) * 1000
        return f"{len(self.seconds)} answers, median {median:.0f} ms, longest {longest:.0f} ms, {self.failed} failed"


def measure(port: int, pid: int, name: str, content: bytes) -> None:
    health, searches, flood = Client(port, keep=False), Client(port, keep=True), Flood(port, content)
    end, before, files = time.monotonic() + SECONDS, cpu_s(pid), 0
    threads = [
        threading.Thread(target=health.run, args=(end, "/health/live")),
        threading.Thread(target=searches.run, args=(end, "/v1/search/text", "heart")),
        threading.Thread(target=flood.run, args=(lambda: time.monotonic() >= end,)),
    ]
    for thread in threads:
        thread.start()
    while time.monotonic() < end:
        files = max(files, len(os.listdir(f"/proc/{pid}/fd")))
        time.sleep(0.2)
    for thread in threads:
        thread.join()
    print(f"{name}: /health/live {health}; searches {searches}")
    print(f"  {flood.opened} connections opened, at most {files} open files, {cpu_s(pid) - before:.1f} s of CPU")


def cpu_s(pid: int) -> float:
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure with idle connections, then with half-sent request heads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int, help="port of the service")
    parser.add_argument("pid", type=int, help="its process id")
    arguments = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * HELD) if hard == -1 else min(hard, 2 * HELD), hard))
    for name, content in (("idle", b""), ("half-sent", HALF)):
        measure(arguments.port, arguments.pid, name, content)


if __name__ == "__main__":
    main()
