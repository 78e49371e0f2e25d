"""Errors of the service itself, such as overload and timeouts. Errors of keys are in `service.access`."""

from __future__ import annotations

import math
from collections.abc import Mapping

from retrieval.errors import RetrievalError


class Refusal(RetrievalError):
    """The service refused or cancelled a request; the response carries `headers`."""

    def __init__(self, message: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.headers = dict(headers or {})


class Overloaded(Refusal):
    """The queue is full."""

    code = "overloaded"
    http_status = 429


class QueueTimeout(Refusal):
    """The request timed out in the queue; nothing was computed."""

    code = "queue_timeout"
    http_status = 503


class RequestTimeout(Refusal):
    """The request timed out while it ran."""

    code = "request_timeout"
    http_status = 504


class Draining(Refusal):
    """The service is stopping: it finishes running requests and refuses new ones."""

    code = "draining"
    http_status = 503


class ClientGone(Refusal):
    """The client closed the connection. The response is not read; its status 499, as in nginx, is for the log."""

    code = "client_gone"
    http_status = 499


class RateLimited(Refusal):
    """Too many requests, or too many wrong keys."""

    code = "rate_limited"
    http_status = 429

    def __init__(self, message: str, wait_s: float) -> None:
        super().__init__(message, headers={"Retry-After": str(math.ceil(wait_s))})


class UploadTooSlow(Refusal):
    """The request's body did not arrive before its timeout."""

    code = "upload_too_slow"
    http_status = 408


class UploadAborted(Refusal):
    """The client closed the connection before the request's body was complete. The response is not read."""

    code = "upload_aborted"
    http_status = 400


class MediaUnavailable(Refusal):
    """The operating system refuses to read a thumbnail."""

    code = "media_unavailable"
    http_status = 503


class NotReady(Refusal):
    """The service runs but cannot answer searches; `reasons` says why."""

    code = "not_ready"
    http_status = 503

    def __init__(self, reasons: tuple[str, ...]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons
