"""The lock of an embedded collection: only one process at a time can open it."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import IO

import portalocker

from retrieval.errors import IndexLocked, SystemFailure
from retrieval.file_permissions import make_private_folder


class FolderLock:
    """An exclusive lock on a folder, which need not exist yet; held until it is released or the process ends.

    Qdrant Edge takes no lock if it has no write-ahead log. The lock is on a file beside the folder. That file is never
    removed, since a lock on a removed file protects nothing.
    """

    def __init__(self, folder: Path) -> None:
        """Take the lock.

        Raises:
            IndexLocked: another process has it, or another object of this one. SystemFailure: the file cannot be written.
        """
        self._file: IO[bytes] | None = None
        make_private_folder(folder.parent)
        self._file = _open(folder.with_name(f"{folder.name}.lock"))
        try:
            portalocker.lock(self._file, portalocker.LOCK_EX | portalocker.LOCK_NB)
        except portalocker.LockException as error:
            self.release()
            raise locked_error(folder) from error

    def release(self) -> None:
        """Release the lock."""
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
        raise SystemFailure(f"{path}, the lock file of a collection, is a folder; remove it") from None
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        raise not_writable_error(path.parent, error.strerror or str(error)) from error


def not_writable_error(folder: Path, reason: str) -> SystemFailure:
    """The error for an index that cannot be opened because it is not writable."""
    return SystemFailure(
        f"the index {folder} cannot be written: {reason}; the embedded engine opens its files for writing, also to search: "
        "give this user write permission, or copy the folder elsewhere and name the copy with --index or CXR_INDEX"
    )


def locked_error(folder: Path) -> IndexLocked:
    """The error for a collection that another process has open."""
    return IndexLocked(
        f"{folder} is in use by another process (a running `cxr serve` or `cxr ingest`?); "
        "stop it, search through its HTTP API, or use a Qdrant server (--index http://…) to share an index"
    )
