"""Request ids, and the log: one line per request, without queries."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from contextlib import redirect_stderr
from typing import Any

import pytest
from litestar import get
from litestar.testing import TestClient

from retrieval.catalog import Catalog
from service.access.scopes import UNCOUNTED
from service.app import create_app
from service.settings import LogFormat, ServiceSettings
from service.telemetry.logs import configure_logs
from tests.service.conftest import Client
from tests.service.telemetry.test_metrics import SECRET, send_secrets

Line = dict[str, Any]


class Log:
    """Captures the log that `configure_logs` sets up."""

    def __init__(self, stream: io.StringIO) -> None:
        self._stream = stream

    def switch(self, form: LogFormat) -> None:
        with redirect_stderr(self._stream):  # pytest replaces stderr between the phases of a test
            configure_logs(form)

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    @property
    def lines(self) -> list[Line]:
        return [json.loads(line) for line in self.text.splitlines()]

    @property
    def requests(self) -> list[Line]:
        return [line for line in self.lines if line["logger"] == "cxr.service.requests"]


@pytest.fixture
def log() -> Iterator[Log]:
    """The log of this process as JSON; the previous logging is restored afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()  # a new configuration would close pytest's handlers
    log = Log(io.StringIO())
    log.switch("json")
    yield log
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize("given", ["abc", "0af7651916cd43dd-8448_eb.21", "x" * 64])
def test_a_plain_request_id_of_the_client_is_used_and_returned(client: Client, given: str) -> None:
    assert client.get("/health/live", headers={"x-request-id": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "two words", "a\tb", "<b>", "caf\xe9", 'a"b', "{}"])
def test_any_other_request_id_is_replaced(client: Client, given: str) -> None:
    answer = client.get("/health/live", headers={"x-request-id": given.encode("latin-1")})
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])


def test_every_request_has_its_own_id_also_if_it_fails(client: Client) -> None:
    ids = {
        client.get(path).headers["x-request-id"]
        for path in ("/health/live", "/v1/models", "/v1/nothing", "/v1/studies/nobody", "/static/page.css")
    }
    assert len(ids) == 5


def test_a_request_is_one_line_with_its_route_but_not_its_path(client: Client, log: Log) -> None:
    answer = client.get("/v1/studies/1?model=tiny-a", headers={"x-request-id": "abc"})
    (line,) = log.requests
    assert line["event"] == "request"
    assert (line["request_id"], line["method"], line["route"]) == ("abc", "GET", "/v1/studies/{study_id}")
    assert (line["status"], line["bytes"], line["level"]) == (200, len(answer.content), "info")
    assert 0 < line["ms"] < 10_000
    assert line["timestamp"].endswith("Z")
    assert "code" not in line


def test_refused_requests_are_logged_with_their_code(client: Client, log: Log) -> None:
    client.get("/v1/studies/nobody")
    client.get("/v1/nothing")
    assert [(line["route"], line["status"], line["code"]) for line in log.requests] == [
        ("/v1/studies/{study_id}", 404, "unknown_study"),
        ("(none)", 404, "not_found"),
    ]


@pytest.mark.parametrize("form", ["json", "console"])
def test_the_log_contains_no_queries(client: Client, log: Log, form: LogFormat) -> None:
    log.switch(form)
    send_secrets(client)
    assert log.text.count("cxr.service.requests") == 9
    assert SECRET not in log.text


def test_lines_of_libraries_carry_the_request_id(shared_catalog: Catalog, log: Log) -> None:
    @get("/careful", sync_to_thread=True, opt=UNCOUNTED)
    def careful() -> None:
        logging.getLogger("some.library").warning("from a thread")

    app = create_app(ServiceSettings(), shared_catalog)
    app.register(careful)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        client.get("/careful", headers={"x-request-id": "abc"})
        logging.getLogger("some.library").warning("afterwards")
    told = {line["event"]: line.get("request_id") for line in log.lines if line["logger"] == "some.library"}
    assert told == {"from a thread": "abc", "afterwards": None}


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_failure_is_logged_with_its_traceback_but_without_the_values_in_its_frames(
    shared_catalog: Catalog, log: Log, form: LogFormat
) -> None:
    @get("/broken", sync_to_thread=False, opt=UNCOUNTED)
    def broken() -> None:
        report = SECRET  # noqa: F841
        raise RuntimeError("no such thing")

    log.switch(form)
    app = create_app(ServiceSettings(), shared_catalog)
    app.register(broken)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        assert client.get("/broken").status_code == 500
    assert "RuntimeError: no such thing" in log.text
    assert "in broken" in log.text
    assert SECRET not in log.text


def test_failures_of_the_service_stand_out(tiny_home, log: Log) -> None:
    from retrieval.settings import RetrievalSettings

    with Catalog(RetrievalSettings(home=tiny_home / "empty", device="cpu")) as catalog:
        app = create_app(ServiceSettings(), catalog)
        with TestClient(app, base_url="http://127.0.0.1") as client:
            client.get("/health/ready")
            client.get("/health/live")
    assert [(line["level"], line.get("code")) for line in log.requests] == [("warning", "not_ready"), ("info", None)]
