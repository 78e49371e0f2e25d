"""cxr-retrieval's engine: pixels and words -> embeddings -> index -> search -> rerank -> evaluation.

Research use; not a medical device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from retrieval import telemetry as telemetry  # first: before any library loads that would send something

if TYPE_CHECKING:
    from retrieval.index.filters import Filters as Filters
    from retrieval.query import Case as Case
    from retrieval.query import Query as Query
    from retrieval.search import Retriever as Retriever

__all__ = ["Case", "Filters", "Query", "Retriever"]


def __getattr__(name: str) -> Any:
    # Lazy, so that `cxr --help` does not load numpy and the engines.
    if name == "Retriever":
        from retrieval.search import Retriever

        return Retriever
    if name == "Filters":
        from retrieval.index.filters import Filters

        return Filters
    if name in ("Case", "Query"):
        import retrieval.query

        return getattr(retrieval.query, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
