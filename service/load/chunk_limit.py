"""Limits the number of chunks of a request body: 64 KB in chunks of one byte block the event loop for a second."""

from __future__ import annotations

from typing import Any

import h11

FREE_CHUNKS = 256
LEAST_MEAN_BYTES = 1024
"""Smallest mean size of a body's chunks after the first `FREE_CHUNKS`; clients send 4 KiB and more."""


class BoundedConnection(h11.Connection):
    """Parses the requests of one connection, and refuses bodies of very many small chunks as malformed."""

    _chunks = _bytes = 0

    def next_event(self) -> Any:
        """See `h11.Connection.next_event`.

        Raises:
            h11.RemoteProtocolError: also for a body of too many chunks.
        """
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = self._bytes = 0
        elif isinstance(event, h11.Data):
            self._chunks += event.chunk_start
            self._bytes += len(event.data)
            if self._chunks > FREE_CHUNKS + self._bytes // LEAST_MEAN_BYTES:
                raise h11.RemoteProtocolError("the body has too many small chunks", error_status_hint=400)
        return event
