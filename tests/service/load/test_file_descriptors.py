"""Many connections and few file descriptors: others are still answered."""

from __future__ import annotations

import http.client
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from service.load import connections
from service.load.connections import fit_to_descriptors
from tests.service.load.test_connections import HALF, LIVE, SEARCH, connect
from tests.service.load.test_drain import MARGIN_S, process


@contextmanager
def many_files() -> Iterator[None]:
    """Allow this process to open 1,100 connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2048:
        pytest.skip(f"needs 2,048 open files, the system allows {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def health(port: int) -> tuple[int, float]:
    """Status and seconds of `/health/live` over a new connection."""
    started = time.monotonic()
    with connect(port) as connection:
        connection.sendall(LIVE)
        return int(connection.recv(65536)[9:12]), time.monotonic() - started


def cpu_s(service: subprocess.Popen[str]) -> float:
    fields = Path(f"/proc/{service.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="limits of another process can be set on Linux only")


@needs_proc
@pytest.mark.parametrize(
    "begin", [b"", HALF, b"POST /v1/search/text HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n{"]
)
def test_with_1100_idle_connections_others_are_answered_and_the_service_stops_in_time(
    tiny_home: Path, begin: bytes
) -> None:
    with process(tiny_home, head_timeout_s="60") as (service, port), many_files(), ExitStack() as stack:
        resource.prlimit(service.pid, resource.RLIMIT_NOFILE, (1024, 1024))
        kept = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        stack.callback(kept.close)

        def search() -> int:
            kept.request("POST", "/v1/search/text", SEARCH, {"Content-Type": "application/json"})
            answer = kept.getresponse()
            answer.read()
            return answer.status

        assert search() == 200
        for _ in range(1100):
            idle = stack.enter_context(connect(port))
            idle.sendall(begin)
        for _ in range(3):
            status, seconds = health(port)
            assert status == 200
            assert seconds < 5  # the target is 1 s, but tests may share the machine
            assert search() == 200
        started = time.monotonic()
        service.send_signal(signal.SIGTERM)
        assert service.wait(timeout=20) == 0
        assert time.monotonic() - started < 8 + MARGIN_S


@needs_proc
def test_without_file_descriptors_others_are_still_answered_and_the_log_stays_short(tiny_home: Path) -> None:
    with process(tiny_home, head_timeout_s="60") as (service, port), ExitStack() as stack:
        assert health(port)[0] == 200
        used = len(os.listdir(f"/proc/{service.pid}/fd"))
        resource.prlimit(service.pid, resource.RLIMIT_NOFILE, (used + 60, used + 60))
        spent = cpu_s(service)
        for _ in range(200):
            stack.enter_context(connect(port))
        assert health(port)[0] == 200
        time.sleep(1.5)
        assert health(port)[0] == 200
        assert cpu_s(service) - spent < 2
        service.send_signal(signal.SIGTERM)
        assert service.stderr is not None
        log = service.stderr.read()
        assert service.wait(timeout=20) == 0
    assert log.count("no file descriptor is left") == 1
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("limits", "fits", "raised"),
    [
        ((20_000, 20_000), 512, None),
        ((1024, 1024), 512, None),
        ((256, 4096), 512, (768, 4096)),
        ((256, -1), 512, (768, -1)),
        ((-1, -1), 512, None),
        ((400, 500), 244, (500, 500)),
        ((128, 128), 32, (128, 128)),
    ],
)
def test_the_connection_limit_fits_the_file_descriptor_limit(
    limits: tuple[int, int], fits: int, raised: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(connections.resource, "RLIM_INFINITY", -1)
    monkeypatch.setattr(connections.resource, "getrlimit", lambda _: limits)
    take: Callable[[int, tuple[int, int]], None] = lambda _, pair: asked.append(pair)  # noqa: E731
    monkeypatch.setattr(connections.resource, "setrlimit", take)
    assert fit_to_descriptors(512) == fits
    assert asked == ([raised] if raised else [])
