"""Requests that the service refuses or gives up for reasons of its own; those about keys are in `service.access`."""

from __future__ import annotations

import math
from collections.abc import Mapping

from retrieval.errors import RetrievalError


class Refusal(RetrievalError):
    """A request that was not answered for the service's own reasons; `headers` go with the answer."""

    def __init__(self, message: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.headers = dict(headers or {})


class Overloaded(Refusal):
    """As many requests run and wait as the service admits."""

    code = "overloaded"
    http_status = 429


class QueueTimeout(Refusal):
    """The request's time was over before its turn came; nothing was computed."""

    code = "queue_timeout"
    http_status = 503


class RequestTimeout(Refusal):
    """The request's time was over while it ran."""

    code = "request_timeout"
    http_status = 504


class Draining(Refusal):
    """The service is stopping: it finishes what runs and takes nothing new."""

    code = "draining"
    http_status = 503


class ClientGone(Refusal):
    """Who asked has closed the connection. Nobody reads this answer; its status, nginx's 499, is for the log."""

    code = "client_gone"
    http_status = 499


class RateLimited(Refusal):
    """Too many requests, or too many wrong keys."""

    code = "rate_limited"
    http_status = 429

    def __init__(self, message: str, wait_s: float) -> None:
        super().__init__(message, headers={"Retry-After": str(math.ceil(wait_s))})


class UploadTooSlow(Refusal):
    """The request's body did not arrive in time."""

    code = "upload_too_slow"
    http_status = 408


class UploadAborted(Refusal):
    """The client went away before its request's body was complete. Nobody reads this answer."""

    code = "upload_aborted"
    http_status = 400


class MediaUnavailable(Refusal):
    """A thumbnail is there and the system refuses to read it."""

    code = "media_unavailable"
    http_status = 503


class NotReady(Refusal):
    """The service runs but cannot answer a search. `reasons` says why."""

    code = "not_ready"
    http_status = 503

    def __init__(self, reasons: tuple[str, ...]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons
