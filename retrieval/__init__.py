"""The engine of cxr-retrieval: images and texts become embeddings, and searches of an index return similar cases.

Research use; not a medical device.
"""

from __future__ import annotations

from retrieval import no_telemetry as no_telemetry  # first: it switches the telemetry of other libraries off

# isort: split
import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retrieval.catalog import open_retriever as open_retriever
    from retrieval.index.filters import Filters as Filters
    from retrieval.search.query import Case as Case
    from retrieval.search.query import Query as Query
    from retrieval.search.retriever import Retriever as Retriever

__all__ = ["Case", "Filters", "Query", "Retriever", "open_retriever"]

_MODULES = {
    "Case": "retrieval.search.query",
    "Filters": "retrieval.index.filters",
    "Query": "retrieval.search.query",
    "Retriever": "retrieval.search.retriever",
    "open_retriever": "retrieval.catalog",
}


def __getattr__(name: str) -> Any:
    # Loaded at first use, so that `cxr --help` imports neither numpy nor the engines.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
