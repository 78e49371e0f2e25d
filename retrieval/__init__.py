"""cxr-retrieval's engine: pixels and words -> embeddings -> index -> search -> rerank -> evaluation.

Research use; not a medical device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from retrieval import no_telemetry as no_telemetry

if TYPE_CHECKING:
    from retrieval.index.filters import Filters as Filters
    from retrieval.search.query import Case as Case
    from retrieval.search.query import Query as Query
    from retrieval.search.retriever import Retriever as Retriever

__all__ = ["Case", "Filters", "Query", "Retriever"]


def __getattr__(name: str) -> Any:
    # Lazy, so that `cxr --help` does not load numpy and the engines.
    if name == "Retriever":
        from retrieval.search.retriever import Retriever

        return Retriever
    if name == "Filters":
        from retrieval.index.filters import Filters

        return Filters
    if name in ("Case", "Query"):
        import retrieval.search.query

        return getattr(retrieval.search.query, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
