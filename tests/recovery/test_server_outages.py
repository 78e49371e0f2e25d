"""Searches while a real server is killed, stopped, or away: a message, a 503, and the same hits afterwards."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.recovery.server_site import Service, Site, running_service
from tests.recovery.strikes import Strike, random_strike
from tests.repetitions import repetitions

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

SEED = int(os.environ.get("CXR_TEST_KILL_SEED", "41"))
MOMENTS = repetitions(4, 20)
SEARCH = ["search", "--text", "heart enlarged", "-k", "5", "--json"]
# A second more than the deadline of a search, which is 10 s.
ANSWERED_S = 11.0


@pytest.fixture(scope="module")
def filled(site: Site) -> Site:
    ended = site.run(site.ingest)
    assert ended.code == 0, str(ended)
    return site


@pytest.fixture
def service(filled: Site, tmp_path: Path) -> Iterator[Service]:
    with running_service(filled.home, filled.node.url, tmp_path / "log") as running:
        yield running


@pytest.mark.parametrize("kind", ["kill", "stop"])
def test_commands_on_a_server_that_is_away_say_so_and_work_when_it_is_back(filled, kind):
    before = filled.run(SEARCH)
    assert before.code == 0, str(before)
    strike = Strike(kind, 0, None)
    strike.carry_out(filled.node)
    for arguments in (SEARCH, ["doctor"], ["models"], ["ingest", "finish", "--model", "tiny"]):
        started = time.monotonic()
        ended = filled.run(arguments, patience_s=1)
        assert time.monotonic() - started < 30
        assert "Traceback" not in ended.output, str(ended)
        if arguments != ["models"]:
            assert ended.code == 1, str(ended)
            assert filled.node.url in ended.output and "answer" in ended.output, str(ended)
    strike.undo(filled.node)
    after = filled.run(SEARCH)
    assert (after.code, hits_of(after.output)) == (0, hits_of(before.output))
    healthy = filled.doctor()
    assert healthy.code == 0, str(healthy)


def hits_of(output: str) -> str:
    return output[output.index("{") :].partition('"timings_ms"')[0]


@pytest.mark.parametrize("kind", ["kill", "stop"])
def test_a_service_answers_503_within_its_deadline_while_the_server_is_away(filled, service, kind):
    expected = hits(service.search())
    strike = Strike(kind, 0, None)
    strike.carry_out(filled.node)
    for _ in range(2):
        started = time.monotonic()
        answer = service.search()
        assert time.monotonic() - started < ANSWERED_S
        assert_unavailable(answer, filled)
    strike.undo(filled.node)
    assert hits(service.search()) == expected


def test_a_service_stops_soon_while_the_server_stands_still(filled, service):
    service.search()
    filled.node.stop()
    waiting = threading.Thread(target=lambda: service.search())
    waiting.start()
    time.sleep(0.5)
    started = time.monotonic()
    service.process.send_signal(signal.SIGTERM)
    service.process.wait(timeout=60)
    took_s = time.monotonic() - started
    filled.node.resume()
    waiting.join()
    assert took_s < ANSWERED_S
    assert "Traceback" not in service.log.read_text()


def test_searches_of_a_service_fail_only_while_the_server_is_away(filled, service, capsys):
    rng = random.Random(f"{SEED} searches")
    expected = hits(service.search())
    failed = 0
    for _ in range(MOMENTS):
        strike = random_strike(rng, 0.3, is_long=False)
        answers = strike.during(filled.node, lambda: search_for(service, 2.0))
        assert answers is not None
        for answer in answers:
            if answer.status_code == 200:
                assert hits(answer) == expected, (SEED, strike)
            else:
                failed += 1
                assert_unavailable(answer, filled)
        assert hits(service.search()) == expected, (SEED, strike)
    with capsys.disabled():
        print(f"\nsearches: {MOMENTS} strikes, {failed} searches refused, seed {SEED}", end=" ")


def search_for(service: Service, duration_s: float) -> list[httpx.Response]:
    ends = time.monotonic() + duration_s
    answers = []
    while time.monotonic() < ends:
        answers.append(service.search())
        time.sleep(0.01)
    return answers


def hits(answer: httpx.Response) -> list[object]:
    assert answer.status_code == 200, answer.text
    found: list[object] = [(hit["study_id"], round(hit["score"], 4)) for hit in answer.json()["hits"]]
    assert len(found) == 5
    return found


def assert_unavailable(answer: httpx.Response, site: Site) -> None:
    """503 that says when to try again, and nothing of the server."""
    assert answer.status_code == 503, answer.text
    assert answer.json()["code"] == "index_unreachable"
    assert int(answer.headers["retry-after"]) >= 1
    assert str(site.node.http_port) not in answer.text and "127.0.0.1" not in answer.text
