"""A Qdrant client that retries temporary failures and raises the errors of this project."""

from __future__ import annotations

import functools
import logging
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec
import stamina.instrumentation
from qdrant_client import QdrantClient
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from retrieval.errors import IndexFailure, IndexForbidden, IndexUnreachable, InvalidRequest, SystemFailure
from retrieval.index import deadline
from retrieval.index.server.http import ServerClient
from retrieval.index_address import redact, server_urls

T = TypeVar("T")

SEARCH_TIMEOUT_S = 10.0
"""Seconds that the requests of one search may take together, unless CXR_INDEX_SEARCH_TIMEOUT_S says otherwise."""

_RETRY_AFTER_MAX_S = 60
_WORDS_MAX = 200
# A search is retried once and soon, since a kept connection may have been closed by the server.
_SEARCH_ATTEMPTS = 2
_SEARCH_WAIT_MAX_S = 1.0
_WAIT_MAX_S = 10.0
# A mistyped address should fail sooner than a long operation.
_CONNECT_PATIENCE_S = 20.0
# 408: the server stopped the request after its timeout.
_UNAVAILABLE = (408, 429, 500, 502, 503, 504)
_FORBIDDEN = (401, 403)
_GUIDE = "is CXR_INDEX_API_KEY right? docs/guides/server-and-cluster.md lists the rights that each command needs"
_log = logging.getLogger(__name__)


class NotDone(Exception):
    """The server has stored a write, but not applied it within the timeout (`wait_timeout`)."""


class RetryingClient:
    """Calls a `ServerClient`, retries temporary failures, and raises other failures as `RetrievalError`.

    Every call of the index may be repeated: writes name their points, and aliases are set to a value.
    """

    def __init__(
        self, client: QdrantClient, location: str, patience_s: float, *, search_timeout_s: float = SEARCH_TIMEOUT_S
    ) -> None:
        """Retry for `patience_s` seconds, or once for 0; messages name `location`.

        Without patience, the calls of one search (`retrieval.index.deadline`) last `search_timeout_s` together.
        """
        self._client = client
        self._location = location
        self._patience_s = patience_s
        self._search_timeout_s = None if patience_s else search_timeout_s

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)

        @functools.wraps(call)
        def retried(*values: Any, **named: Any) -> Any:
            server = f"the Qdrant server at {self._location}"
            try:
                with deadline.one_request(self._search_timeout_s):
                    return self._repeat(lambda: _require_done(call(*values, **named)))
            except TimeoutError as error:
                raise IndexUnreachable(f"{server} does not answer in time: {error}") from error
            except ResponseHandlingException as error:
                if _is_tls_error(error.source):
                    raise IndexUnreachable(
                        f"no secure connection to {server}: {describe_failure(error)}; CXR_INDEX_CA_FILE names the "
                        "authority that signed its certificate; a server without TLS is reached by http://"
                    ) from error
                raise IndexUnreachable(f"{server} does not answer: {describe_failure(error)}") from error
            except UnexpectedResponse as error:
                if error.status_code in _UNAVAILABLE:
                    raise IndexUnreachable(f"{server} is busy: {describe_failure(error)}") from error
                what = f"{server} refuses {_name_of(name, values)}: {describe_failure(error)}"
                if error.status_code in _FORBIDDEN:
                    raise IndexForbidden(f"{what}; {_GUIDE}") from error
                raise IndexFailure(
                    what, public="the index refuses the request; the log of the service says why"
                ) from error
            except (AssertionError, ValueError) as error:  # of qdrant-client, about an answer in another form
                raise IndexUnreachable(f"{server} does not answer like one; is the address right?") from error
            except (QdrantException, NotDone) as error:  # 429 with Retry-After; a write that is not done
                failure = IndexUnreachable(f"{server} is busy: {describe_failure(error)}")
                if isinstance(error, ResourceExhaustedResponse):
                    failure.retry_after_s = max(1, min(int(error.retry_after_s), _RETRY_AFTER_MAX_S))
                raise failure from error

        return retried

    def _repeat(self, call: Callable[[], T]) -> T:
        for attempt in stamina.retry_context(
            on=self._should_retry,
            attempts=None if self._patience_s else _SEARCH_ATTEMPTS,
            timeout=self._patience_s or None,
            wait_max=_WAIT_MAX_S,
        ):
            with attempt:
                return call()
        raise AssertionError("the last attempt returns or raises")

    def _should_retry(self, error: Exception) -> bool | float:
        """Whether the call is retried, or after how many seconds if the server says so."""
        left_s = deadline.left_s()
        if left_s is not None and left_s < _SEARCH_WAIT_MAX_S:
            return False
        match error:
            case NotDone():
                return self._patience_s > 0
            case ResourceExhaustedResponse():
                wait_s = min(float(error.retry_after_s), _WAIT_MAX_S)
                return wait_s if self._patience_s or wait_s <= _SEARCH_WAIT_MAX_S else False
            case UnexpectedResponse():
                return error.status_code in _UNAVAILABLE
            case ResponseHandlingException(source=httpx.TimeoutException()):
                return self._patience_s > 0  # a search has already waited for one timeout
            case ResponseHandlingException():
                return isinstance(error.source, httpx.TransportError) and not _is_tls_error(error.source)
            case _:
                return False


def connect(
    location: str,
    *,
    api_key: str | None,
    timeout_s: int,
    ca_file: Path | None,
    patience_s: float,
    search_timeout_s: float = SEARCH_TIMEOUT_S,
) -> ServerClient:
    """A client of the server or cluster at `location`, which has answered; `ca_file` holds its authority, in PEM.

    Raises:
        IndexUnreachable: no node answers within `patience_s`. IndexForbidden: the server refuses the key.
        InvalidRequest: `location` is not an address. SystemFailure: `ca_file` cannot be read.
    """
    urls = server_urls(location)
    try:
        # Without user and password: qdrant-client ignores them, and would show them in its errors.
        client = ServerClient(urls, api_key=api_key, timeout_s=timeout_s, verify=_verification(ca_file))
    except (ValueError, httpx.InvalidURL) as error:
        raise InvalidRequest(f"the index {redact(location)!r} is not the address of a server: {error}") from error
    try:
        retrying = RetryingClient(
            client, redact(location), min(patience_s, _CONNECT_PATIENCE_S), search_timeout_s=search_timeout_s
        )
        with deadline.one_search():
            retrying.get_collections()
    except IndexForbidden:
        client.close()
        raise
    except IndexFailure as error:
        client.close()
        raise IndexUnreachable(f"{error}; is it running?") from error
    return client


def describe_failure(error: Exception) -> str:
    """One line about a failed call: the cause of a lost connection, or the status and the server's own words."""
    match error:
        case UnexpectedResponse():
            status = f"{error.status_code} {error.reason_phrase}".strip()
            words = _words_of(error.content).removeprefix(f"{error.reason_phrase}: ")
            return f"{status}: {words}" if words else status
        case ResponseHandlingException(source=httpx.HTTPError() as source):
            return _first_line(str(source)) or type(source).__name__
        case ResponseHandlingException():
            return f"its answer is not that of a Qdrant server ({type(error.source).__name__})"
        case _:
            return _first_line(str(error)) or type(error).__name__


def _words_of(content: bytes) -> str:
    """The error in an answer of the server, whose form is {"status": {"error": "..."}}; empty for another form."""
    try:
        return _first_line(str(msgspec.json.decode(content)["status"]["error"]))
    except (msgspec.MsgspecError, KeyError, TypeError):
        return ""


def _first_line(text: str) -> str:
    line = text.strip().partition("\n")[0].strip()
    return line if len(line) <= _WORDS_MAX else f"{line[:_WORDS_MAX]}…"


def _name_of(name: str, values: Sequence[Any]) -> str:
    return " ".join(map(str, values[:2])) if name in ("call", "write") else name


def _require_done(result: T) -> T:
    """`result`, if the server has applied the write that it answers.

    Raises:
        NotDone: it is still waiting.
    """
    for each in result if isinstance(result, list) else [result]:
        if getattr(each, "status", None) == "wait_timeout":
            raise NotDone("a write is stored, but not applied in time")
    return result


def _verification(ca_file: Path | None) -> ssl.SSLContext | bool:
    if ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise SystemFailure(f"{ca_file} is not a readable PEM file of certificates: {error}") from error


def _is_tls_error(error: BaseException | None) -> bool:
    """Whether a connection failed because of TLS: an untrusted certificate, or a server that speaks plain HTTP."""
    while error is not None:
        if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _log_retry(details: stamina.instrumentation.RetryDetails) -> None:
    reason = describe_failure(details.caused_by)
    _log.warning("the Qdrant server is unavailable (%s); retrying in %.1f s", reason, details.wait_for)


# With structlog installed, stamina's own hook prints to stdout, which is for results only.
stamina.instrumentation.set_on_retry_hooks([_log_retry])
