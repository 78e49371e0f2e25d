"""What of the service outlives its requests: its metrics, its spans, and whether it is stopping."""

from __future__ import annotations

from dataclasses import dataclass

from service.load.drain import Drain
from service.settings import ServiceSettings
from service.telemetry.metrics import Metrics
from service.telemetry.tracing import Tracing


@dataclass(frozen=True, slots=True)
class Operations:
    """Made before the models are opened, which count their batches here, and shared with the server, which drains."""

    metrics: Metrics
    drain: Drain
    tracing: Tracing | None = None

    @classmethod
    def of(cls, settings: ServiceSettings) -> Operations:
        """What `settings` ask for.

        Raises:
            MissingExtra, InvalidRequest: spans are asked for and cannot be sent.
        """
        return cls(
            metrics=Metrics(),
            drain=Drain(grace_s=settings.shutdown_grace_s, notice_s=settings.drain_notice_s),
            tracing=Tracing() if settings.tracing else None,
        )
