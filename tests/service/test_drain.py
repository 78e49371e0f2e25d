"""A service that is told to stop finishes what runs, refuses what is new, and says that it is stopping."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from retrieval.catalog import Catalog
from tests.service.live import Asking, HeldModel, serving, until
from tests.service.test_search import assert_problem

ROOT = Path(__file__).parents[2]


@pytest.fixture
def held(catalog: Catalog) -> Iterator[HeldModel]:
    with HeldModel(catalog) as held:
        yield held


def test_what_runs_is_answered_and_what_is_new_is_refused(catalog: Catalog, held: HeldModel) -> None:
    with serving(catalog, shutdown_grace_s=20) as live:
        asking = Asking()
        asking.ask(lambda: live.post("running"))
        until(lambda: held.texts == ["running"])
        live.operations.drain.begin()
        refused = live.post("too late")
        assert_problem(refused, 503, "draining")
        assert refused.headers["retry-after"]
        assert refused.headers["connection"] == "close"
        assert_problem(live.client.get("/health/ready"), 503, "not_ready")
        assert live.client.get("/health/live").status_code == 200
        held.gate.set()
        assert [answer.status_code for answer in asking.wait()] == [200]
        assert live.ended.wait(20)
    assert held.texts == ["running"]


def test_a_request_that_outlasts_the_grace_is_told_so_and_the_service_ends(catalog: Catalog, held: HeldModel) -> None:
    with serving(catalog, shutdown_grace_s=0.3) as live:
        asking = Asking()
        asking.ask(lambda: live.post("endless"))
        until(lambda: held.texts == ["endless"])
        live.operations.drain.begin()
        (answer,) = asking.wait()
        assert_problem(answer, 503, "draining")
        held.gate.set()
        assert live.ended.wait(20)


def test_a_process_that_is_terminated_answers_what_it_has_taken(tiny_home: Path) -> None:
    environment = os.environ | {"CXR_HOME": str(tiny_home), "CXR_DEVICE": "cpu", "PYTHONUNBUFFERED": "1"}
    environment["CXR_SERVICE_RATE_PER_MINUTE"] = "0"
    command = [sys.executable, str(ROOT / "cxr.py"), "serve", "--port", "0", "--model", "tiny-a"]
    with subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            address = next(found[0] for line in process.stderr if (found := re.search(r"http://\S+", line)))
            urllib.request.urlopen(f"{address}/health/ready", timeout=30).close()
            # Large enough that it is still running when the signal comes.
            batch = {"queries": [{"text": f"effusion {n}", "candidates": 24, "k": 24} for n in range(32)]}
            answers: list[httpx.Response] = []

            def ask() -> None:
                answers.append(httpx.post(f"{address}/v1/search/batch", json=batch, timeout=30))

            threads = [threading.Thread(target=ask) for _ in range(6)]
            for thread in threads:
                thread.start()
            until(lambda: len(answers) >= 1, limit_s=30)
            process.send_signal(signal.SIGTERM)
            for thread in threads:
                thread.join(30)
            log = process.stderr.read()
            process.wait(timeout=30)
        finally:
            process.kill()
    assert len(answers) == 6
    for answer in answers:
        if answer.status_code == 200:
            assert len(answer.json()["results"]) == 32
        else:
            assert (answer.status_code, json.loads(answer.text)["code"]) == (503, "draining")
    assert "Traceback" not in log
    assert process.returncode == 0
