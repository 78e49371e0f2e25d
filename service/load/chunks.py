"""A limit on how finely a request's body may be cut: of chunks of one byte, 64 KB held the event loop for a second."""

from __future__ import annotations

from typing import Any

import h11

FREE_CHUNKS = 256
LEAST_MEAN_BYTES = 1024
"""Of a body's chunks, on average, beyond the first `FREE_CHUNKS`; clients send 4 KiB and more."""


class BoundedConnection(h11.Connection):
    """Parses one connection's requests, and refuses as malformed those of very many small chunks."""

    _chunks = _bytes = 0

    def next_event(self) -> Any:
        """See `h11.Connection.next_event`.

        Raises:
            h11.RemoteProtocolError: also for a body that is cut too finely.
        """
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = self._bytes = 0
        elif isinstance(event, h11.Data):
            self._chunks += event.chunk_start
            self._bytes += len(event.data)
            if self._chunks > FREE_CHUNKS + self._bytes // LEAST_MEAN_BYTES:
                raise h11.RemoteProtocolError("the body is cut into too many chunks", error_status_hint=400)
        return event
