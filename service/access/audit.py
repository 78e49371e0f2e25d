"""The audit log: who searched what kind of thing, and which studies they were shown. Never what they wrote or saw.

JSON lines in one file a day (UTC), `<CXR_HOME>/audit/2026-01-31.jsonl`, readable by their owner only and never removed by
the service. A line holds names and ids: of keys, models, findings, studies. It holds no query text, no image, no report, no
address of a request or of a client. Thumbnails are not recorded: their address is a hash that only a recorded search
or study gives away, and browsers keep them, so that a record would be incomplete. The command line is not recorded either:
whoever may run it may read the index.
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

# Filters whose values are words of a vocabulary. The others' values are whatever the client wrote.
_FINDINGS = ("all", "any", "none", "absent")
_WORDS = ("certainty", "view", "has_report")
_WAIT_S = 0.5
_POLL_S = 0.005
_LOCKED = "another program keeps it locked"


class AuditUnavailable(RetrievalError):
    """The audit log cannot be written, so the request is refused: a log with gaps proves nothing."""

    code = "audit_unavailable"
    http_status = 503


class AuditLog:
    """Appends to the log, from any thread; other processes may append to the same files."""

    def __init__(self, folder: Path | None) -> None:
        """Log into `folder`, made at the first line; None switches the log off."""
        self._folder = folder
        self._broken = False
        self._turn = threading.Lock()

    async def record(self, connection: Connection, action: str, **facts: Any) -> None:
        """As `write`, for those who must not block.

        Raises:
            AuditUnavailable: as `write`.
        """
        await run_sync(partial(self.write, connection, action, **facts))

    def write(self, connection: Connection, action: str, **facts: Any) -> None:
        """Append one line: time, request id, name of the key, `action`, and `facts` (plain values). Blocks.

        The line is handed to the operating system before the answer is sent; a power failure may lose the last ones.

        Raises:
            AuditUnavailable: it could not be written; the request must not be answered.
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

    def search(self, connection: Connection, result: SearchResult, *, kind: str, k: int, **facts: Any) -> None:
        """Record a search that is about to be answered: once for each `result`. `kind` is `text`, `image`, `study` ….

        Blocks: it belongs into the thread that searched. One whose client leaves at this moment is recorded, too.

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

    def facets(self, connection: Connection, retriever: Retriever, filters: Filters, counts: FacetCounts) -> None:
        """Record counts that are about to be shown: under a filter by study they say what that study has. Blocks.

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
            # An id that no image has is whatever the client wrote.
            studies=[filters.study_id] if filters.study_id and any(counts.values()) else [],
        )

    def study(self, connection: Connection, retriever: Retriever, record: StudyRecord) -> None:
        """Record a study whose report is about to be shown. Blocks, as `search`.

        Raises:
            AuditUnavailable: as `write`.
        """
        model, collection = retriever.model, retriever.collection.name
        self.write(connection, "open_study", model=model, collection=collection, studies=[record.study_id])

    @asynccontextmanager
    async def change(self, connection: Connection, action: str, **facts: Any) -> AsyncIterator[None]:
        """Record a change twice: before it, so that none happens unrecorded, and with its outcome.

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
        """Can lines be written? After a failure the first good line says that the log goes on.

        Raises:
            AuditUnavailable: they cannot.
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
        """Append to a file. Opened anew each time: a folder that was moved or removed is noticed at once.

        In plain system calls: each search waits for this, and after a run of the model, which leaves all caches cold, the
        layers of pathlib and of Python's files cost more than the calls.
        """
        assert self._folder is not None
        descriptor = _open(self._folder, name)
        try:
            # Other threads and processes append, too. Closing the file releases it.
            with _taken(self._turn):
                _lock(descriptor)
                if content and os.fstat(descriptor).st_size and _last_byte(descriptor) != b"\n":
                    content = b"\n" + content  # a full disk or a crash has cut the line before
                if os.write(descriptor, content) != len(content):
                    raise OSError("no space for a whole line")
        finally:
            os.close(descriptor)


@contextmanager
def _taken(turn: threading.Lock) -> Iterator[None]:
    if not turn.acquire(timeout=_WAIT_S):
        raise OSError(_LOCKED)
    try:
        yield
    finally:
        turn.release()


def _lock(descriptor: int) -> None:
    """Lock a file that another program may keep locked: searches must not wait for that until their time is over."""
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
    """The filters as the log may hold them: findings and views by name, of the others only that they were set."""
    named: dict[str, Any] = {}
    for name, value in filters.items():
        if name in _FINDINGS:
            named[name] = [finding.partition("/")[0] for finding in value]  # what follows may be any word
        else:
            named[name] = value if name in _WORDS else True
    return named
