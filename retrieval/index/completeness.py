"""Whether a collection is complete, and if not, which command completes it.

A collection records the jobs that were begun and have not come to their end (`CollectionMeta.pending`). Only the end of
a job removes it there, so that no other command can call complete what a killed one left.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from retrieval.index.interface import Collection
from retrieval.index.schema import CollectionMeta

PUSH = "push"
RESTORE = "restore"
_INGEST = "ingest:"


def ingest_of(dataset: str) -> str:
    """The job that a run over a whole source, or its parts together, brings to its end."""
    return _INGEST + dataset


def begin(collection: Collection, job: str | None) -> None:
    """Record, before the first write, that `job` is under way; None is a retry, which leaves nothing but the counting."""
    meta = collection.meta
    pending = tuple(dict.fromkeys((*(meta.pending or ()), *([job] if job else []))))
    if meta.complete or pending != (meta.pending or ()):
        collection.record(msgspec.structs.replace(meta, pending=pending, complete=False))


def without(meta: CollectionMeta, job: str | None) -> tuple[str, ...]:
    """What is pending still when `job` has come to its end."""
    return tuple(each for each in meta.pending or () if each != job)


def datasets_of(pending: Iterable[str]) -> list[str]:
    """The datasets whose ingest is pending."""
    return [job.removeprefix(_INGEST) for job in pending if job.startswith(_INGEST)]


def why_incomplete(meta: CollectionMeta) -> str:
    """Why a collection is not complete and what to do; empty if it is complete."""
    if meta.complete:
        return ""
    if meta.pending is None:
        return (
            f"its last ingest did not come to its end, or an earlier version made it and did not count; `cxr ingest` "
            f"with {meta.model} again, which skips what is done"
        )
    reasons = []
    if datasets := datasets_of(meta.pending):
        reasons.append(
            f"the ingest of {', '.join(datasets)} was cut off or still runs; run it again, or `cxr ingest finish --model "
            f"{meta.model}` to take the collection as it is"
        )
    if PUSH in meta.pending:
        reasons.append("a `cxr push` into it was cut off or still runs; run it again")
    if RESTORE in meta.pending:
        reasons.append("its `cxr snapshot restore` was cut off or still runs; run it again")
    return "; ".join(reasons) or (
        f"a `cxr ingest retry` was cut off or still runs; run `cxr ingest retry --model {meta.model}` again"
    )
