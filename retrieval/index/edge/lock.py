"""The lock of an embedded collection: one process at a time has it open."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import IO

import portalocker

from retrieval.errors import IndexLocked, SystemFailure
from retrieval.file_permissions import make_private_folder


class FolderLock:
    """An exclusive lock on a folder that may not exist yet, held until released or until the process ends.

    Without a write-ahead log Qdrant Edge takes no lock of its own. The lock is on a file beside the folder, which stays
    when the folder goes: whoever locks a file that another removes would hold nothing.
    """

    def __init__(self, folder: Path) -> None:
        """Take the lock.

        Raises:
            IndexLocked: another process holds it, or this one does elsewhere. SystemFailure: it cannot be written.
        """
        self._file: IO[bytes] | None = None
        make_private_folder(folder.parent)
        self._file = _open(folder.with_name(f"{folder.name}.lock"))
        try:
            portalocker.lock(self._file, portalocker.LOCK_EX | portalocker.LOCK_NB)
        except portalocker.LockException as error:
            self.release()
            raise in_use(folder) from error

    def release(self) -> None:
        """Give the lock back."""
        if self._file:
            self._file.close()
            self._file = None

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def __del__(self) -> None:
        self.release()


def _open(path: Path) -> IO[bytes]:
    try:
        return path.open("ab")
    except IsADirectoryError:
        raise SystemFailure(f"{path}, the lock of a collection, is a folder and must be a file; remove it") from None
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        raise not_writable(path.parent, error.strerror or str(error)) from error


def not_writable(folder: Path, reason: str) -> SystemFailure:
    """The error for an index that cannot be opened because it cannot be written to."""
    return SystemFailure(
        f"the index {folder} cannot be written: {reason}; the embedded engine opens its files for writing even to search "
        "them: allow it, or copy the folder elsewhere and name that with --index or CXR_INDEX"
    )


def in_use(folder: Path) -> IndexLocked:
    """The error for a collection that another process has open."""
    return IndexLocked(
        f"{folder} is in use by another process (a running `cxr serve` or `cxr ingest`?); "
        "stop it, ask it over HTTP, or use a Qdrant server (--index http://…) to share an index"
    )
