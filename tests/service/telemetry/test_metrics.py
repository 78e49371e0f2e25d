"""`/metrics` and spans: what they count, and that they contain no query, study id or patient data."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from litestar.testing import TestClient
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from prometheus_client.parser import text_string_to_metric_families

from retrieval.catalog import Catalog
from retrieval.errors import IndexFailure, InvalidRequest
from retrieval.index.edge.index import EdgeIndex
from retrieval.settings import RetrievalSettings
from service.app import create_app
from service.load.batching import BatchingEncoder
from service.settings import ServiceSettings
from service.telemetry.operations import Operations
from service.telemetry.tracing import Tracing
from tests.service.conftest import Client, connect
from tests.service.live import ConcurrentRequests, GatedModel, serving, until

SECRET = "Jane-Doe-effusion"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


@pytest.fixture
def metered(shared_catalog: Catalog) -> Iterator[Client]:
    with connect(shared_catalog, ServiceSettings(metrics=True, rate_per_minute=0)) as client:
        yield client


def test_metrics_are_off_unless_configured(client: Client) -> None:
    assert client.get("/metrics").status_code == 404


def test_requests_are_counted_by_route_method_and_status(metered: Client) -> None:
    for _ in range(3):
        metered.post("/v1/search/text", json={"text": "heart"})
    metered.post("/v1/search/text", json={"text": ""})
    metered.get("/v1/studies/1")
    metered.get("/v1/studies/nobody")
    metered.get("/v1/nothing/here")
    metered.request("BREW", "/v1/models")
    samples = scrape(metered.get("/metrics").text)
    count = partial(value, samples, "cxr_http_requests_total")
    assert count(method="POST", route="/v1/search/text", status="200") == 3
    assert count(method="POST", route="/v1/search/text", status="400") == 1
    assert count(method="GET", route="/v1/studies/{study_id}", status="200") == 1
    assert count(method="GET", route="/v1/studies/{study_id}", status="404") == 1
    assert count(method="GET", route="(none)", status="404") == 1
    assert count(method="(other)", route="(none)", status="405") == 1
    assert value(samples, "cxr_http_request_seconds_count", method="POST", route="/v1/search/text") == 4
    assert value(samples, "cxr_http_problems_total", code="unknown_study") == 1
    assert value(samples, "cxr_http_problems_total", code="invalid_request") == 1
    for stage in ("queue", "encode", "search"):
        assert value(samples, "cxr_stage_seconds_count", stage=stage) >= 3


def test_metrics_name_models_and_their_collections(metered: Client) -> None:
    samples = scrape(metered.get("/metrics").text)
    assert value(samples, "cxr_collection_images", model="tiny-a") == 24
    assert value(samples, "cxr_index_up") == 1
    models = {dict(labels)["model"]: dict(labels) for name, labels in samples if name == "cxr_model_info"}
    assert models["tiny-a"]["active"] == "true"
    assert models["tiny-b"]["active"] == "false"
    assert len(models["tiny-a"]["bundle_id"]) >= 12
    assert value(samples, "process_resident_memory_bytes") > 1 << 20


def test_metrics_report_an_index_that_cannot_be_read(tiny_home, monkeypatch) -> None:
    def fail(_: EdgeIndex) -> list[str]:
        raise IndexFailure("the disk does not answer")

    catalog = Catalog(RetrievalSettings(home=tiny_home, device="cpu"))
    with catalog, connect(catalog, ServiceSettings(metrics=True)) as client:
        assert value(scrape(client.get("/metrics").text), "cxr_index_up") == 1
        monkeypatch.setattr(EdgeIndex, "collections", fail)
        samples = scrape(client.get("/metrics").text)
        assert value(samples, "cxr_index_up") == 0
        assert value(samples, "cxr_collection_images", model="tiny-a") == 24  # the last known value


def test_batches_waiting_requests_and_refusals_are_counted(tiny_home) -> None:
    settings = ServiceSettings()
    operations = Operations.from_settings(settings)
    make_encoder = partial(BatchingEncoder, observe=operations.metrics.observe_batch)
    with Catalog(RetrievalSettings(home=tiny_home, device="cpu"), make_encoder=make_encoder) as catalog:
        options = {"concurrent_searches": 1, "waiting_searches": 1, "metrics": True}
        with GatedModel(catalog) as held, serving(catalog, operations, **options) as live:
            asking = ConcurrentRequests()
            asking.ask(live.post)
            until(lambda: len(held.texts) == 1)
            asking.ask(live.post)

            def scraped() -> Samples:
                return scrape(live.client.get("/metrics").text)

            until(lambda: value(scraped(), "cxr_permits_waiting", permits="searches") == 1)
            assert live.post().status_code == 429
            samples = scraped()
            assert value(samples, "cxr_permits_running", permits="searches") == 1
            assert value(samples, "cxr_permits_limit", permits="searches") == 1
            assert value(samples, "cxr_http_problems_total", code="overloaded") == 1
            held.gate.set()
            asking.wait()
            samples = scraped()
            assert value(samples, "cxr_permits_waiting", permits="searches") == 0
            assert value(samples, "cxr_encode_batch_size_count", tower="text") == 2
            assert value(samples, "cxr_encode_batch_size_sum", tower="text") == 2
            assert value(samples, "cxr_encode_batch_seconds_count", tower="text") == 2


def test_metrics_contain_no_queries(metered: Client) -> None:
    send_secrets(metered)
    assert SECRET not in metered.get("/metrics").text


def test_openmetrics_is_served_if_the_accept_header_asks_for_it(metered: Client) -> None:
    answer = metered.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


def send_secrets(client: Client) -> None:
    """Send requests with a secret in every possible place."""
    client.post("/v1/search/text", json={"text": SECRET})
    client.post("/v1/search/text", json={"text": "heart", "filters": {"all": [SECRET]}})
    client.post("/v1/search/text", json={"text": "heart", "model": SECRET})
    client.post("/v1/search/image", files={"image": (f"{SECRET}.png", b"x")})
    client.get(f"/v1/studies/{SECRET}?model={SECRET}")
    client.get(f"/v1/studies/{SECRET}/similar?with={SECRET}")
    client.get(f"/{SECRET}?{SECRET}={SECRET}")
    client.get(f"/?text={SECRET}")
    client.get("/health/live", headers={"x-request-id": f"{SECRET} {SECRET}", "user-agent": SECRET, "referer": SECRET})


@pytest.fixture
def spans(shared_catalog: Catalog) -> Iterator[tuple[Client, InMemorySpanExporter]]:
    """A client and the spans of its requests."""
    exporter = InMemorySpanExporter()
    settings = ServiceSettings(rate_per_minute=0)
    operations = Operations.from_settings(settings)
    traced = Operations(operations.metrics, operations.drain, Tracing(SimpleSpanProcessor(exporter)))
    with TestClient(create_app(settings, shared_catalog, traced), base_url="http://127.0.0.1") as client:
        yield client, exporter


def test_each_request_is_a_span_named_by_its_route(spans: tuple[Client, InMemorySpanExporter]) -> None:
    client, exporter = spans
    client.post("/v1/search/text", json={"text": "heart"}, headers={"x-request-id": "abc"})
    client.get("/v1/studies/nobody")
    found, lost = exporter.get_finished_spans()
    assert found.name == "POST /v1/search/text"
    assert found.attributes is not None and lost.attributes is not None
    assert found.attributes["http.response.status_code"] == 200
    assert found.attributes["cxr.request_id"] == "abc"
    assert float(str(found.attributes["cxr.encode_ms"])) >= 0
    assert lost.name == "GET /v1/studies/{study_id}"
    assert lost.attributes["error.type"] == "unknown_study"
    assert lost.status.status_code is StatusCode.UNSET  # an error of the client


def test_a_span_continues_the_trace_of_the_caller(spans: tuple[Client, InMemorySpanExporter]) -> None:
    client, exporter = spans
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    client.get("/health/live", headers={"traceparent": f"00-{trace}-{parent}-01"})
    (span,) = exporter.get_finished_spans()
    assert f"{span.context.trace_id:032x}" == trace
    assert span.parent is not None and f"{span.parent.span_id:016x}" == parent


def test_spans_contain_no_queries(spans: tuple[Client, InMemorySpanExporter]) -> None:
    client, exporter = spans
    send_secrets(client)
    finished = exporter.get_finished_spans()
    assert len(finished) == 9
    assert SECRET not in "".join(span.to_json() for span in finished)


def test_standard_otel_variables_select_the_exporter(shared_catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Collector) as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "cxr-ward-3")
        settings = ServiceSettings(tracing=True, rate_per_minute=0)
        operations = Operations.from_settings(settings)
        assert operations.tracing is not None
        with TestClient(create_app(settings, shared_catalog, operations), base_url="http://127.0.0.1") as client:
            send_secrets(client)
        operations.tracing.close()
        collector.shutdown()
        thread.join()
    path, body = received[0]
    assert path == "/v1/traces"
    assert b"POST /v1/search/text" in body
    assert b"cxr-ward-3" in body
    assert SECRET.encode() not in b"".join(body for _, body in received)


def test_an_unknown_exporter_is_an_error_at_startup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "carrier-pigeon")
    with pytest.raises(InvalidRequest, match="carrier-pigeon"):
        Operations.from_settings(ServiceSettings(tracing=True))


def test_tracing_without_its_extra_names_what_to_install() -> None:
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from retrieval.errors import MissingExtra\n"
        "from service.telemetry.operations import Operations; from service.settings import ServiceSettings\n"
        "Operations.from_settings(ServiceSettings())\n"  # tracing is off, so nothing is missing
        "try: Operations.from_settings(ServiceSettings(tracing=True))\n"
        "except MissingExtra as error: print(error)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "cxr-retrieval[otel]" in found.stdout
