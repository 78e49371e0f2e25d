"""Checks for disk space before writing: the embedded engine maps its files, and a full disk kills the process."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from retrieval.errors import DiskFull

RESERVE_BYTES = 192 << 20
"""Bytes that must stay free in addition to the bytes to be written.

The engine extends its files by 32 MB, five files at once; the rest is for thumbnails, ledger and other programs.
"""

_FULL = (errno.ENOSPC, errno.EDQUOT)
# With less space, errors of libraries do not name the full disk.
_NEARLY_FULL_BYTES = 1 << 20


def require_space(folder: Path, need_bytes: int, what: str) -> None:
    """Check that `need_bytes` can be written to the disk of `folder`, with `RESERVE_BYTES` left.

    Raises:
        DiskFull: names the disk, the free and the needed bytes.
    """
    free = free_bytes(folder)
    if free < need_bytes + RESERVE_BYTES:
        raise disk_full_error(
            folder, f"{what} needs {_mb(need_bytes + RESERVE_BYTES)}, {_mb(RESERVE_BYTES)} of them as reserve"
        )


@contextmanager
def translate_disk_full(folder: Path, what: str) -> Iterator[None]:
    """Raise an error of the block as `DiskFull` if the disk of `folder` is full.

    Raises:
        DiskFull: names the disk and the free bytes.
    """
    try:
        yield
    except DiskFull:
        raise
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else None
        if number not in _FULL and (number is not None or free_bytes(folder) >= _NEARLY_FULL_BYTES):
            raise
        # With the system's message: it may be a quota, with free space on the disk.
        reason = f" ({error.strerror})" if isinstance(error, OSError) else ""
        raise disk_full_error(folder, f"{what} cannot be written{reason}") from error


def free_bytes(folder: Path) -> int:
    """Free bytes for this user on the disk of `folder`, which need not exist yet."""
    return shutil.disk_usage(_existing(folder)).free


@dataclass(frozen=True, slots=True)
class Extent:
    """Bytes of files: `allocated` on the disk, and `holes`, which are allocated when they are written to."""

    allocated: int
    holes: int


def extent_of(folder: Path) -> Extent:
    """The extent of all files below `folder`."""
    allocated = holes = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            status = os.stat(os.path.join(parent, name))
            taken = getattr(status, "st_blocks", -(-status.st_size // 512)) * 512
            allocated += taken
            holes += max(0, status.st_size - taken)
    return Extent(allocated, holes)


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())


def disk_full_error(folder: Path, what: str) -> DiskFull:
    """The error for a full disk; `what` names the use of the space."""
    return DiskFull(
        f"the disk of {folder.absolute()} has {_mb(free_bytes(folder))} free, and {what}; free some space and run the "
        "command again"
    )


def _mb(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"
