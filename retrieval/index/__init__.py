"""The vector index: one interface, two engines (Qdrant Edge in process, a Qdrant server through qdrant-client)."""

from __future__ import annotations

from pathlib import Path

from retrieval.index.interface import Index
from retrieval.settings import RetrievalSettings


def open_index(settings: RetrievalSettings) -> Index:
    """The index that the settings name: a server for an `http://` or `https://` address, else the embedded one.

    Raises:
        IndexUnreachable: the server does not answer.
    """
    location = settings.index_location
    if location.startswith(("http://", "https://")):
        # Imported here: qdrant-client takes a second to import, and the embedded engine does not need it.
        from retrieval.index.server import ServerIndex

        key = settings.index_api_key.get_secret_value() if settings.index_api_key else None
        return ServerIndex.connect(location, api_key=key, timeout_s=settings.index_timeout_s)
    from retrieval.index.edge import EdgeIndex

    return EdgeIndex(Path(location))
