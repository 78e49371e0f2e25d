"""The audit log: the key of each search, its filters, and the studies that it returned.

One file of JSON lines per day (UTC), `<CXR_HOME>/audit/2026-01-31.jsonl`. Only the owner can read it, and the service never
deletes it. A line holds names and ids of keys, models, findings and studies. It holds no query text, image, report,
request path or client address.

Two things are not recorded. Thumbnails: their URL is a hash that only a recorded search or study reveals, and browsers
cache them, so the record would have gaps. The command line: its users can read the index directly.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import portalocker
from anyio.to_thread import run_sync
from litestar.connection import ASGIConnection

from retrieval.errors import RetrievalError
from retrieval.file_permissions import NO_FOLLOW, make_private_folder, open_private
from retrieval.index.filters import Filters
from retrieval.search.hits import SearchResult, StudyRecord
from retrieval.search.retriever import Retriever

Connection = ASGIConnection[Any, Any, Any, Any]
FacetCounts = dict[str, dict[str, int]]

# Filters whose values come from a vocabulary. Values of other filters are free text of the client.
_FINDINGS = ("all", "any", "none", "absent")
_WORDS = ("certainty", "view", "has_report")
_WAIT_S = 0.5
_POLL_S = 0.005
_LOCKED = "another program has locked it"


class AuditUnavailable(RetrievalError):
    """The audit log cannot be written. The request is refused, because a log with gaps is no evidence."""

    code = "audit_unavailable"
    http_status = 503


class AuditLog:
    """Appends lines to the log. Safe from several threads and several processes."""

    def __init__(self, folder: Path | None) -> None:
        """Write to `folder`, which is created with the first line; None switches the log off."""
        self._folder = folder
        self._broken = False
        self._turn = threading.Lock()

    async def record(self, connection: Connection, action: str, **facts: Any) -> None:
        """As `write`, without blocking the event loop.

        Raises:
            AuditUnavailable: as `write`.
        """
        await run_sync(partial(self.write, connection, action, **facts))

    def write(self, connection: Connection, action: str, **facts: Any) -> None:
        """Append one line: time, request id, name of the key, `action`, and `facts` (plain values). Blocks.

        The operating system has the line before the client has the response. A power failure may lose the last lines.

        Raises:
            AuditUnavailable: the line could not be written. The caller must not answer the request.
        """
        if self._folder is None:
            return
        caller = connection.scope.get("auth")
        line = {
            "request_id": connection.scope.get("state", {}).get("request_id"),
            "key": caller.name if caller else None,
            "action": action,
            **facts,
        }
        self._append(line)

    def write_search(self, connection: Connection, result: SearchResult, *, kind: str, k: int, **facts: Any) -> None:
        """Record one result before it is sent. `kind` is `text`, `image`, `study`, or several joined by `+`.

        Blocks, so call it in the thread that searched. Searches whose client disconnects now are recorded, too.

        Raises:
            AuditUnavailable: as `write`.
        """
        self.write(
            connection,
            "search",
            kind=kind,
            model=result.model,
            collection=result.collection,
            filters=_name_filters(result.interpreted.get("filters", {})),
            k=k,
            studies=list(dict.fromkeys(hit.study_id for hit in result.hits)),
            **facts,
        )

    def write_facets(self, connection: Connection, retriever: Retriever, filters: Filters, counts: FacetCounts) -> None:
        """Record facet counts before they are sent: with a filter for one study they reveal its findings. Blocks.

        Raises:
            AuditUnavailable: as `write`.
        """
        self.write(
            connection,
            "count_facets",
            model=retriever.model,
            collection=retriever.collection.name,
            filters=_name_filters(filters.to_dict()),
            fields=list(counts),
            # A study id without images is free text of the client.
            studies=[filters.study_id] if filters.study_id and any(counts.values()) else [],
        )

    def write_study(self, connection: Connection, retriever: Retriever, record: StudyRecord) -> None:
        """Record a study before its report is sent. Blocks.

        Raises:
            AuditUnavailable: as `write`.
        """
        model, collection = retriever.model, retriever.collection.name
        self.write(connection, "open_study", model=model, collection=collection, studies=[record.study_id])

    @asynccontextmanager
    async def record_change(self, connection: Connection, action: str, **facts: Any) -> AsyncIterator[None]:
        """Record a change before the block, so that none happens unrecorded, and its outcome after the block.

        Raises:
            AuditUnavailable: as `write`.
        """
        await self.record(connection, action, **facts, outcome="asked")
        try:
            yield
        except RetrievalError as error:
            await self.record(connection, action, **facts, outcome=error.code)
            raise
        await self.record(connection, action, **facts, outcome="done")

    def check(self) -> None:
        """Test that lines can be written. After a failure, write the line `audit_resumed`.

        Raises:
            AuditUnavailable: the log cannot be written.
        """
        if self._folder is None:
            return
        if self._broken:
            self._append({"action": "audit_resumed"})
        else:
            self._append(None)

    def _append(self, facts: dict[str, Any] | None) -> None:
        assert self._folder is not None
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        content = msgspec.json.encode({"time": now} | facts) + b"\n" if facts is not None else b""
        try:
            self._append_bytes(f"{now[:10]}.jsonl", content)
        except (OSError, portalocker.LockException) as error:
            self._broken = True
            reason = getattr(error, "strerror", None) or error
            raise AuditUnavailable(f"the audit log cannot be written: {reason}") from error
        self._broken = False

    def _append_bytes(self, name: str, content: bytes) -> None:
        """Append to a file, which is opened each time, so that a moved or removed folder is noticed at once.

        Uses system calls, because every search waits for this. After a run of the model all CPU caches are cold, and
        pathlib and Python's file objects then cost more than the calls themselves.
        """
        assert self._folder is not None
        descriptor = _open(self._folder, name)
        try:
            # Other threads and processes append, too. Closing the file releases the lock.
            with _holding(self._turn):
                _lock(descriptor)
                if content and os.fstat(descriptor).st_size and _last_byte(descriptor) != b"\n":
                    content = b"\n" + content  # a full disk or a crash has cut the previous line
                if os.write(descriptor, content) != len(content):
                    raise OSError("no space for a line")
        finally:
            os.close(descriptor)


@contextmanager
def _holding(turn: threading.Lock) -> Iterator[None]:
    if not turn.acquire(timeout=_WAIT_S):
        raise OSError(_LOCKED)
    try:
        yield
    finally:
        turn.release()


def _lock(descriptor: int) -> None:
    """Lock the file, but wait only briefly: another program may hold the lock for long, and searches have a timeout."""
    deadline = time.monotonic() + _WAIT_S
    while True:
        try:
            portalocker.lock(descriptor, portalocker.LOCK_EX | portalocker.LOCK_NB)
            return
        except portalocker.AlreadyLocked:
            if time.monotonic() >= deadline:
                raise OSError(_LOCKED) from None
            time.sleep(_POLL_S)


def _open(folder: Path, name: str) -> int:
    path, flags = f"{folder}/{name}", os.O_RDWR | os.O_APPEND | os.O_CREAT | NO_FOLLOW
    try:
        return open_private(path, flags)
    except FileNotFoundError:
        make_private_folder(folder)
        return open_private(path, flags)


def _last_byte(descriptor: int) -> bytes:
    os.lseek(descriptor, -1, os.SEEK_END)  # Windows has no `os.pread`
    return os.read(descriptor, 1)


def _name_filters(filters: dict[str, Any]) -> dict[str, Any]:
    """The filters for the log: findings, views and certainty by name, of all others only that they were set."""
    named: dict[str, Any] = {}
    for name, value in filters.items():
        if name in _FINDINGS:
            named[name] = [finding.partition("/")[0] for finding in value]  # the qualifier may be any word
        else:
            named[name] = value if name in _WORDS else True
    return named
