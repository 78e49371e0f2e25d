"""Prometheus metrics of `/metrics`. Labels are routes, stages and names of models, never queries or results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.exposition import choose_encoder

from retrieval.model_status import ModelStatus
from service.load.admission import Admission
from service.load.batching import Tower

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """All metrics, in a registry of this service."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self._requests = Counter(
            "cxr_http_requests", "Requests answered.", ["method", "route", "status"], registry=registry
        )
        self._request_seconds = Histogram(
            "cxr_http_request_seconds",
            "Seconds from the request headers to the end of the response.",
            ["method", "route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._problems = Counter(
            "cxr_http_problems", "Requests answered with a problem document.", ["code"], registry=registry
        )
        self._stage_seconds = Histogram(
            "cxr_stage_seconds",
            "Seconds spent in a stage of a request.",
            ["stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._batch_size = Histogram(
            "cxr_encode_batch_size",
            "Texts or images in one run of a model.",
            ["tower"],
            buckets=_SIZES,
            registry=registry,
        )
        self._batch_seconds = Histogram(
            "cxr_encode_batch_seconds", "Seconds of one run of a model.", ["tower"], buckets=_SECONDS, registry=registry
        )
        self._permits = {
            name: Gauge(f"cxr_permits_{name}", description, ["permits"], registry=registry)
            for name, description in (
                ("running", "Requests that run."),
                ("waiting", "Requests that wait in the queue."),
                ("limit", "Requests that may run at once."),
                ("queue_limit", "Queue length."),
            )
        }
        self._model = Gauge(
            "cxr_model_info",
            "Installed models and models with a collection.",
            ["model", "bundle_id", "family", "precision", "active"],
            registry=registry,
        )
        self._images = Gauge("cxr_collection_images", "Images in a model's collection.", ["model"], registry=registry)
        self._index_up = Gauge(
            "cxr_index_up", "1 if the collections of the index can be listed, else 0.", registry=registry
        )

    def observe_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        self._requests.labels(method, route, str(status)).inc()
        self._request_seconds.labels(method, route).observe(seconds)

    def observe_problem(self, code: str) -> None:
        """Count one problem document."""
        self._problems.labels(code).inc()

    def observe_stages(self, stages_ms: Mapping[str, float]) -> None:
        """Count the stages of one request."""
        for stage, milliseconds in stages_ms.items():
            self._stage_seconds.labels(stage).observe(milliseconds / 1000)

    def observe_batch(self, tower: Tower, size: int, seconds: float) -> None:
        """Count one run of a model."""
        self._batch_size.labels(tower).observe(size)
        self._batch_seconds.labels(tower).observe(seconds)

    def observe_models(self, statuses: Iterable[ModelStatus] | None) -> None:
        """Update the model metrics; None means that the index does not answer."""
        self._index_up.set(statuses is not None)
        if statuses is None:
            return
        self._model.clear()
        self._images.clear()
        for status in statuses:
            active = str(status.active).lower()
            labels = (status.key, status.bundle_id or "", status.family or "", status.precision or "", active)
            self._model.labels(*labels).set(1)
            if status.images is not None:
                self._images.labels(status.key).set(status.images)

    def watch(self, admission: Admission) -> None:
        """Report the requests of `admission` whenever the metrics are read."""
        self._permits["running"].labels(admission.name).set_function(lambda: admission.running)
        self._permits["waiting"].labels(admission.name).set_function(lambda: admission.waiting)
        self._permits["limit"].labels(admission.name).set(admission.limit)
        self._permits["queue_limit"].labels(admission.name).set(admission.queue)

    def render(self, accept: str) -> tuple[bytes, str]:
        """All values in a format that the header `accept` allows, and its media type."""
        encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type
