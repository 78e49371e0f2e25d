"""Files that are written aside and take their place in one step, so that no reader meets half of one."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import portalocker

_SUFFIX = ".draft"


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` when the block ends, and vanishes when it raises."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}{_SUFFIX}")
    file = _open_locked(draft)
    try:
        with file:
            yield file
            file.flush()
            os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def sweep_drafts(folder: Path) -> None:
    """Remove from `folder` the drafts of processes that were killed; those that are being written are locked."""
    for draft in folder.glob(f".*{_SUFFIX}"):
        with contextlib.suppress(OSError, portalocker.LockException), draft.open("rb") as file:
            portalocker.lock(file, portalocker.LOCK_EX | portalocker.LOCK_NB)
            draft.unlink()


def _open_locked(draft: Path) -> IO[bytes]:
    while True:
        file = os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb")
        portalocker.lock(file, portalocker.LOCK_EX)
        if draft.exists():  # else it was swept before it was locked
            return file
        file.close()
