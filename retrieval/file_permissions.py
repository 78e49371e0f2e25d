"""Permissions of the files and folders that hold report texts, thumbnails, vectors and keys: for their owner only."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

# The entries of a home. A folder with other entries is shared with other programs, and its permissions stay.
_PUBLIC = frozenset({"cache", "models", "phantoms"})
_SECRET = frozenset({"audit", "drafts", "index", "ledger", "media", "presets"})
_SECRET_FILES = ("salt", "keys.json", "experiments.sqlite")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO

NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
"""Flag for `open_private`: refuse a symbolic link. Windows has no such flag."""
# Without it Windows writes two bytes for each line feed, also in binary content.
_BINARY = getattr(os, "O_BINARY", 0)


def make_private_folder(folder: Path) -> None:
    """Make `folder` and its missing parents for the owner only, whatever the umask."""
    if not folder.is_dir():
        if folder.parent != folder:
            make_private_folder(folder.parent)
        folder.mkdir(mode=stat.S_IRWXU, exist_ok=True)


def open_private(path: str | Path, flags: int) -> int:
    """A file descriptor for `path`; a new file is for its owner only. `flags` are those of `os.open`."""
    return os.open(path, flags | _BINARY, 0o600)


def restrict_home(home: Path, index: Path | None = None) -> list[Path]:
    """Restrict `home` and the embedded `index` to their owner; returns the paths that other users could read before.

    A folder with other entries keeps its permissions; the entries of this program are restricted instead. Paths of another
    user cannot be changed; `cxr doctor` reports them.
    """
    changed = []
    with suppress(OSError):
        for path in protected_paths(home, index):
            if is_open_to_others(path):
                with suppress(OSError):
                    path.chmod(stat.S_IMODE(path.stat().st_mode) & ~_OTHERS)
                    changed.append(path)
    return changed


def protected_paths(home: Path, index: Path | None) -> Iterator[Path]:
    """The paths whose permissions protect this program's files: the home, or its own entries in a shared home."""
    if home.is_dir():
        if is_private_home(home):
            yield home
            # The permissions of the home do not protect the target of a link.
            yield from (path for path in secret_entries(home) if path.is_symlink())
        else:
            yield from secret_entries(home)
    if index is not None and index.is_dir() and not index.resolve().is_relative_to(home.resolve()):
        yield from (path.parent for path in index.glob("*/collection.json"))


def is_private_home(home: Path) -> bool:
    """Whether `home` has only entries of this program, so that its permissions may be changed."""
    resolved = home.resolve()
    if resolved == Path.home().resolve() or resolved.parent == resolved or home.stat().st_mode & stat.S_ISVTX:
        return False
    return all(path.name in _PUBLIC or _is_secret(path.name) for path in home.iterdir())


def secret_entries(home: Path) -> list[Path]:
    """The entries of `home` that hold patient data or keys."""
    return [path for path in sorted(home.iterdir()) if _is_secret(path.name) and path.exists()]


def _is_secret(name: str) -> bool:
    return name in _SECRET or name.removeprefix(".").startswith(_SECRET_FILES)


def is_open_to_others(path: Path) -> bool:
    """Whether other users may enter or read it. Windows has no such modes."""
    return os.name == "posix" and bool(path.stat().st_mode & _OTHERS)
