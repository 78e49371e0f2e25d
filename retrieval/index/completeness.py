"""Pending jobs of a collection, and the command that completes each of them.

A collection records the jobs that have started and not finished (`CollectionMeta.pending`). Only the end of a job removes
its entry, so that no other command can declare the work of a killed job complete.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from retrieval.index.interface import Collection
from retrieval.index.schema import CollectionMeta

PUSH = "push"
RESTORE = "restore"
_INGEST = "ingest:"


def ingest_job(dataset: str) -> str:
    """The job of ingesting the whole source of a dataset, in one run or in parts."""
    return _INGEST + dataset


def record_pending_job(collection: Collection, job: str | None) -> None:
    """Record, before the first write, that `job` has started; None is a retry, after which only counting is pending."""
    meta = collection.meta
    pending = tuple(dict.fromkeys((*(meta.pending or ()), *([job] if job else []))))
    if meta.complete or pending != (meta.pending or ()):
        collection.record(msgspec.structs.replace(meta, pending=pending, complete=False))


def pending_after(meta: CollectionMeta, job: str | None) -> tuple[str, ...]:
    """The jobs that are still pending when `job` is finished."""
    return tuple(each for each in meta.pending or () if each != job)


def datasets_with_pending_ingest(pending: Iterable[str]) -> list[str]:
    """The datasets with a pending ingest."""
    return [job.removeprefix(_INGEST) for job in pending if job.startswith(_INGEST)]


def why_incomplete(meta: CollectionMeta) -> str:
    """Why a collection is not complete, and the remedy; empty if it is complete."""
    if meta.complete:
        return ""
    if meta.pending is None:
        return (
            f"its last ingest was interrupted, or an earlier version made it without counts; run `cxr ingest` with "
            f"{meta.model} again, which skips finished images"
        )
    reasons = []
    if datasets := datasets_with_pending_ingest(meta.pending):
        reasons.append(
            f"the ingest of {', '.join(datasets)} was interrupted or is still running; run it again, or `cxr ingest finish "
            f"--model {meta.model}` to accept the collection as it is"
        )
    if PUSH in meta.pending:
        reasons.append("a `cxr push` into it was interrupted or is still running; run it again")
    if RESTORE in meta.pending:
        reasons.append("its `cxr snapshot restore` was interrupted or is still running; run it again")
    return "; ".join(reasons) or (
        f"a `cxr ingest retry` was interrupted or is still running; run `cxr ingest retry --model {meta.model}` again"
    )
