"""OpenTelemetry spans: one per request, with its route, status and stages; never its path, its query or an exception's text.

Instrumented by hand, since the ready-made ASGI instrumentation records addresses, which hold queries and study ids.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from retrieval.errors import InvalidRequest, MissingExtra
from service.telemetry.observed_request import ObservedRequest

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

_EXPORTER = "OTEL_TRACES_EXPORTER"
# The specification's `otlp` leaves the protocol open; only this one comes with the extra.
_OTLP = "otlp_proto_http"


class Tracing:
    """Makes spans and hands them to a processor."""

    def __init__(self, processor: SpanProcessor | None = None) -> None:
        """Send spans where the standard `OTEL_` variables say, or to `processor`.

        Raises:
            MissingExtra: OpenTelemetry is not installed.
            InvalidRequest: `OTEL_TRACES_EXPORTER` names an exporter that is not installed.
        """
        try:
            from opentelemetry import propagate, trace
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
        except ImportError as error:
            raise MissingExtra(
                "CXR_SERVICE_TRACING is set, but OpenTelemetry is not installed; install the extra `otel` "
                "(pip install 'cxr-retrieval[otel]')"
            ) from error
        self._trace = trace
        self._propagate = propagate
        # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES go before what is given here.
        name = os.environ.get("OTEL_SERVICE_NAME", "cxr-retrieval")
        self._provider = TracerProvider(resource=Resource.create({"service.name": name}))
        self._provider.add_span_processor(processor or _processor_from_environment())
        self._tracer = self._provider.get_tracer("cxr.service")

    @contextmanager
    def span(self, observed: ObservedRequest, headers: dict[bytes, bytes]) -> Iterator[None]:
        """The span of one request, a child of the one that its `traceparent` names; filled in when it ends."""
        carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}
        with self._tracer.start_as_current_span(
            observed.method,
            context=self._propagate.extract(carrier),
            kind=self._trace.SpanKind.SERVER,
            # Messages of exceptions may hold what was asked.
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            finally:
                span.update_name(f"{observed.method} {observed.route}")
                span.set_attribute("http.request.method", observed.method)
                span.set_attribute("http.route", observed.route)
                span.set_attribute("cxr.request_id", observed.request_id)
                for stage, milliseconds in observed.stages_ms.items():
                    span.set_attribute(f"cxr.{stage}_ms", milliseconds)
                if observed.code:
                    span.set_attribute("error.type", observed.code)
                status = observed.status or 500
                span.set_attribute("http.response.status_code", status)
                if status >= 500:
                    span.set_status(self._trace.StatusCode.ERROR)

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


def _processor_from_environment() -> SpanProcessor:
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    name = os.environ.get(_EXPORTER, "otlp").strip()
    found = entry_points(group="opentelemetry_traces_exporter", name=_OTLP if name == "otlp" else name)
    if not found:
        raise InvalidRequest(f"{_EXPORTER}={name!r} names no exporter that is installed; `otlp` and `console` are")
    return BatchSpanProcessor(next(iter(found)).load()())
