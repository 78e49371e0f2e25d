"""Opens the index with the engine that the settings name: embedded or server."""

from __future__ import annotations

import importlib
from pathlib import Path

from retrieval.errors import InvalidRequest
from retrieval.index.edge.index import EdgeIndex
from retrieval.index.interface import Index
from retrieval.index_address import is_miswritten, is_server
from retrieval.settings import RetrievalSettings


def open_index(settings: RetrievalSettings, *, patient: bool = False) -> Index:
    """The index of `settings`: a server or cluster for `http://` or `https://` addresses, else the embedded one.

    `patient` retries for `index_patience_s` while a server is unavailable, for long operations; else a call is retried once.

    Raises:
        InvalidRequest: not an address, or one without http:// or https://. IndexUnreachable: no node answers.
    """
    location = settings.index_location
    if is_server(location):
        # Loaded when it is needed: qdrant-client takes 1 s to import, and the embedded engine does not use it.
        server_engine = importlib.import_module("retrieval.index.server.index")
        key = settings.index_api_key.get_secret_value() if settings.index_api_key else None
        server: Index = server_engine.ServerIndex.connect(
            settings.index_address,
            api_key=key,
            search_timeout_s=settings.index_search_timeout_s,
            timeout_s=settings.index_timeout_s,
            ca_file=settings.index_ca_file,
            patience_s=settings.index_patience_s if patient else 0,
        )
        return server
    if is_miswritten(settings.index_address):
        raise InvalidRequest(f"the index {location!r} looks like the address of a server; write http://… or https://…")
    return EdgeIndex(Path(location))
