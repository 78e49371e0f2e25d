"""OpenTelemetry spans: one per request, with route, status and stages; no path, no query, no exception message.

Not OpenTelemetry's ASGI instrumentation, because that records addresses, which hold queries and study ids.
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
# `otlp` leaves the protocol open. The extra `otel` installs only this exporter.
_OTLP = "otlp_proto_http"


class Tracing:
    """Creates spans and sends them to a processor."""

    def __init__(self, processor: SpanProcessor | None = None) -> None:
        """Send spans to `processor`, by default to the exporter of the standard `OTEL_` variables.

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
        # An attribute given here overrides the variable, so the variable is read first.
        name = os.environ.get("OTEL_SERVICE_NAME", "cxr-retrieval")
        self._provider = TracerProvider(resource=Resource.create({"service.name": name}))
        self._provider.add_span_processor(processor or _processor_from_environment())
        self._tracer = self._provider.get_tracer("cxr.service")

    @contextmanager
    def span(self, observed: ObservedRequest, headers: dict[bytes, bytes]) -> Iterator[None]:
        """The span of one request, a child of the span in its header `traceparent`. Attributes are set at the end."""
        carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}
        with self._tracer.start_as_current_span(
            observed.method,
            context=self._propagate.extract(carrier),
            kind=self._trace.SpanKind.SERVER,
            # Messages of exceptions may quote the query.
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
        """Send the remaining spans."""
        self._provider.shutdown()


def _processor_from_environment() -> SpanProcessor:
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    name = os.environ.get(_EXPORTER, "otlp").strip()
    found = entry_points(group="opentelemetry_traces_exporter", name=_OTLP if name == "otlp" else name)
    if not found:
        raise InvalidRequest(f"{_EXPORTER}={name!r}: this exporter is not installed; `otlp` and `console` are")
    return BatchSpanProcessor(next(iter(found)).load()())
