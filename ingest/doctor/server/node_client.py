"""Asks one node of a Qdrant server about its state. What it does not tell is no error."""

from __future__ import annotations

import ssl
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import httpx
import msgspec

from ingest.doctor.server import answers

T = TypeVar("T")

PEERS_S = 3
"""Seconds for which a node may wait for the others; a stopped one keeps it waiting."""

_CONNECT_S = 3.0
_HINDERED = (408, 500, 502, 503, 504)


class NodeClient:
    """Asks one node.

    `silence` is why it does not answer; then it is not asked again. `is_hindered`: an answer failed, not for lack of rights.
    """

    def __init__(self, url: str, api_key: str | None, timeout_s: float, ca_file: Path | None, stack: ExitStack) -> None:
        self.url = url
        self.silence = ""
        self.is_hindered = False
        self._answered = False
        self.peer = 0
        verify = ssl.create_default_context(cafile=str(ca_file)) if ca_file else True
        self._client = stack.enter_context(
            httpx.Client(
                base_url=url,
                headers={"accept-encoding": "identity"} | ({"api-key": api_key} if api_key else {}),
                verify=verify,
                timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, _CONNECT_S)),
            )
        )

    def get(self, path: str, answer: type[T], *, is_bare: bool = False, **params: str | int) -> T | None:
        """The answer to a request; None if the server refuses it. `is_bare`: without the usual envelope."""
        if self.silence:
            return None
        try:
            response = self._client.get(path, params=params)
        except httpx.HTTPError as error:
            # A node that answers may wait in vain for another one.
            if not (self._answered and isinstance(error, httpx.TimeoutException)):
                self.silence = str(error).strip() or type(error).__name__
            self.is_hindered = True
            self._be_brief()
            return None
        self._answered = True
        if response.elapsed.total_seconds() > PEERS_S:
            self._be_brief()
        if not response.is_success:
            self.is_hindered |= response.status_code in _HINDERED
            return None
        try:
            if is_bare:
                return msgspec.json.decode(response.content, type=answer)
            return msgspec.json.decode(response.content, type=answers.Answer[answer]).result  # type: ignore[valid-type]
        except msgspec.MsgspecError:
            return None

    def _be_brief(self) -> None:
        """Wait less from now on: the node waits for another one, and would for each answer."""
        self._client.timeout = httpx.Timeout(PEERS_S)
