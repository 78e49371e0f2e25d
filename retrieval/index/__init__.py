"""The vector index: one interface, two engines (Qdrant Edge in process, a Qdrant server through qdrant-client)."""

from __future__ import annotations

from pathlib import Path

from retrieval.errors import InvalidRequest
from retrieval.index.interface import Index
from retrieval.index_address import is_miswritten, is_server
from retrieval.settings import RetrievalSettings


def open_index(settings: RetrievalSettings, *, patient: bool = False) -> Index:
    """The index that the settings name: a server for an `http://` or `https://` address, else the embedded one.

    Long work is `patient` with a server that is busy or away, for `index_patience_s`; a search tries just once more.

    Raises:
        InvalidRequest: an address without http:// or https://. IndexUnreachable: the server does not answer.
    """
    location = settings.index_location
    if is_server(location):
        # Imported here: qdrant-client takes a second to import, and the embedded engine does not need it.
        from retrieval.index.server.index import ServerIndex

        key = settings.index_api_key.get_secret_value() if settings.index_api_key else None
        return ServerIndex.connect(
            settings.index_address,
            api_key=key,
            timeout_s=settings.index_timeout_s,
            ca_file=settings.index_ca_file,
            patience_s=settings.index_patience_s if patient else 0,
        )
    if is_miswritten(settings.index_address):
        raise InvalidRequest(f"the index {location!r} looks like a server's address; write http://… or https://…")
    from retrieval.index.edge.index import EdgeIndex

    return EdgeIndex(Path(location))
