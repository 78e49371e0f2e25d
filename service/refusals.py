"""What the service itself refuses or gives up, before or beside the engine."""

from __future__ import annotations

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
