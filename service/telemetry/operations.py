"""The operational state of one service: metrics, spans, and whether it is shutting down."""

from __future__ import annotations

from dataclasses import dataclass

from service.load.drain import Drain
from service.settings import ServiceSettings
from service.telemetry.metrics import Metrics
from service.telemetry.tracing import Tracing


@dataclass(frozen=True, slots=True)
class Operations:
    """Created before the models, which count their batches in `metrics`. The server shares `drain`."""

    metrics: Metrics
    drain: Drain
    tracing: Tracing | None = None

    @classmethod
    def from_settings(cls, settings: ServiceSettings) -> Operations:
        """The operational state for `settings`.

        Raises:
            MissingExtra, InvalidRequest: tracing is on, but spans cannot be sent.
        """
        return cls(
            metrics=Metrics(),
            drain=Drain(grace_s=settings.shutdown_grace_s, notice_s=settings.drain_notice_s),
            tracing=Tracing() if settings.tracing else None,
        )
