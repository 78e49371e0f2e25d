"""A Qdrant client that retries temporary failures and raises the errors of this project."""

from __future__ import annotations

import functools
import logging
import ssl
from pathlib import Path
from typing import Any

import httpx
import stamina.instrumentation
from qdrant_client import QdrantClient
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from retrieval.errors import IndexFailure, IndexUnreachable, InvalidRequest, SystemFailure
from retrieval.index.server.http import ServerClient
from retrieval.index_address import redact

# A search is retried once and soon, since a kept connection may have been closed by the server.
_SEARCH_ATTEMPTS = 2
_SEARCH_WAIT_MAX_S = 1.0
_WAIT_MAX_S = 10.0
# A mistyped address should fail sooner than a long operation.
_CONNECT_PATIENCE_S = 20.0
_UNAVAILABLE = (429, 500, 502, 503, 504)
_log = logging.getLogger(__name__)


class RetryingClient:
    """Calls a `QdrantClient`, retries temporary failures, and raises other failures as `RetrievalError`.

    Every call of the index may be repeated: writes name their points, and aliases are set to a value.
    """

    def __init__(self, client: QdrantClient, location: str, patience_s: float) -> None:
        """Retry for `patience_s` seconds, or once for 0; messages name `location`."""
        self._client = client
        self._location = location
        self._patience_s = patience_s

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)

        @functools.wraps(call)
        def retried(*values: Any, **named: Any) -> Any:
            try:
                for attempt in stamina.retry_context(
                    on=self._should_retry,
                    attempts=None if self._patience_s else _SEARCH_ATTEMPTS,
                    timeout=self._patience_s or None,
                    wait_max=_WAIT_MAX_S,
                ):
                    with attempt:
                        return call(*values, **named)
            except ResponseHandlingException as error:
                if _is_tls_error(error.source):
                    raise IndexUnreachable(
                        f"no secure connection to the Qdrant server at {self._location}: {error}; CXR_INDEX_CA_FILE "
                        "names the authority that signed its certificate"
                    ) from error
                raise IndexUnreachable(f"the Qdrant server at {self._location} does not answer: {error}") from error
            except UnexpectedResponse as error:
                if error.status_code in _UNAVAILABLE:
                    raise IndexUnreachable(f"the Qdrant server at {self._location} is busy: {error}") from error
                raise IndexFailure(f"the Qdrant server at {self._location} refuses {name}: {error}") from error
            except QdrantException as error:  # 429 with Retry-After
                raise IndexUnreachable(f"the Qdrant server at {self._location} is busy: {error}") from error

        return retried

    def _should_retry(self, error: Exception) -> bool | float:
        """Whether the call is retried, or after how many seconds if the server says so."""
        match error:
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


def connect(url: str, *, api_key: str | None, timeout_s: int, ca_file: Path | None, patience_s: float) -> ServerClient:
    """A client of the server at `url`, which has answered; `ca_file` holds the authority of its certificate, in PEM.

    Raises:
        IndexUnreachable: the server does not answer within `patience_s`, or refuses the key.
        InvalidRequest: `url` is not an address. SystemFailure: `ca_file` cannot be read.
    """
    location = redact(url)
    try:
        # Without user and password: qdrant-client ignores them, and would show them in its errors.
        client = ServerClient(location, api_key=api_key, timeout_s=timeout_s, verify=_verification(ca_file))
    except ValueError as error:
        raise InvalidRequest(f"the index {location} is not the address of a server: {error}") from error
    try:
        RetryingClient(client, location, min(patience_s, _CONNECT_PATIENCE_S)).get_collections()
    except IndexFailure as error:
        client.close()
        raise IndexUnreachable(f"{error}; is it running, and is CXR_INDEX_API_KEY right?") from error
    return client


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
    reason = str(details.caused_by).partition("\n")[0]
    _log.warning("the Qdrant server is unavailable (%s); retrying in %.1f s", reason, details.wait_for)


# With structlog installed, stamina's own hook prints to stdout, which is for results only.
stamina.instrumentation.set_on_retry_hooks([_log_retry])
