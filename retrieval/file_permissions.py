"""Folders that only their owner can enter: they hold report texts, thumbnails, vectors and keys."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

# What the program keeps in a home. A folder with anything else in it is shared with others and stays as it is.
_PUBLIC = frozenset({"cache", "models", "phantoms"})
_SECRET = frozenset({"audit", "drafts", "index", "ledger", "media", "presets"})
_SECRET_FILES = ("salt", "keys.json", "experiments.sqlite")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO

NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
"""Flag for `open_private`: refuse a symbolic link. Windows has no such flag."""
# Without it Windows writes two bytes for each line feed, also in binary content.
_BINARY = getattr(os, "O_BINARY", 0)


def make_private_folder(folder: Path) -> None:
    """Make `folder`, and the folders above it that are missing, for the owner only, whatever the umask."""
    if not folder.is_dir():
        if folder.parent != folder:
            make_private_folder(folder.parent)
        folder.mkdir(mode=stat.S_IRWXU, exist_ok=True)


def open_private(path: str | Path, flags: int) -> int:
    """A file descriptor for `path`; a new file is for its owner only. `flags` are those of `os.open`."""
    return os.open(path, flags | _BINARY, 0o600)


def restrict_home(home: Path, index: Path | None = None) -> list[Path]:
    """Take `home` and the embedded `index` away from all but their owner; gives what others could enter or read.

    A folder that holds other things, too, keeps its permissions; what this program keeps in it is restricted instead.
    What belongs to another user cannot be changed and is left to `cxr doctor`.
    """
    changed = []
    with suppress(OSError):
        for path in _guarded(home, index):
            if _is_open(path):
                with suppress(OSError):
                    path.chmod(stat.S_IMODE(path.stat().st_mode) & ~_OTHERS)
                    changed.append(path)
    return changed


def permission_problems(home: Path, index: Path | None = None) -> list[str]:
    """What is wrong with who owns and who can read `home` and the embedded `index`, and what to do; empty if all is well."""
    problems = [
        f"other users of this machine can read {path}, which holds reports and thumbnails; run: chmod go= {path}"
        for path in _guarded(home, index)
        if _is_open(path)
    ]
    if not home.is_dir() or not hasattr(os, "geteuid"):
        return problems
    if not _is_ours(home) and _is_writable(home):
        problems.append(
            f"other users of this machine can replace what is in {home}, keys included; run: chmod go-w {home}"
        )
    owner = home.stat().st_uid
    if owner != os.geteuid():
        problems.append(
            f"{home} belongs to user {owner}, and this is user {os.geteuid()}; run as its owner, or chown -R it"
        )
    strange = [path.name for path in _secrets_of(home) if path.stat().st_uid not in (owner, os.geteuid())]
    if strange:
        problems.append(f"{', '.join(strange)} in {home} belong to other users than the folder; chown -R {home}")
    return problems


def _guarded(home: Path, index: Path | None) -> Iterator[Path]:
    """The folders whose permissions guard what the program keeps: the home alone if it is ours, else our part of it."""
    if home.is_dir():
        if _is_ours(home):
            yield home
            # A link leads out of what the home's own permissions guard.
            yield from (path for path in _secrets_of(home) if path.is_symlink())
        else:
            yield from _secrets_of(home)
    if index is not None and index.is_dir() and not index.resolve().is_relative_to(home.resolve()):
        yield from (path.parent for path in index.glob("*/collection.json"))


def _is_ours(home: Path) -> bool:
    resolved = home.resolve()
    if resolved == Path.home().resolve() or resolved.parent == resolved or home.stat().st_mode & stat.S_ISVTX:
        return False
    return all(path.name in _PUBLIC or _is_secret(path.name) for path in home.iterdir())


def _secrets_of(home: Path) -> list[Path]:
    return [path for path in sorted(home.iterdir()) if _is_secret(path.name) and path.exists()]


def _is_secret(name: str) -> bool:
    return name in _SECRET or name.removeprefix(".").startswith(_SECRET_FILES)


def _is_writable(folder: Path) -> bool:
    """Whether others may rename and replace what is in it: in a folder with the sticky bit they may not."""
    mode = folder.stat().st_mode
    return os.name == "posix" and not mode & stat.S_ISVTX and bool(mode & (stat.S_IWGRP | stat.S_IWOTH))


def _is_open(path: Path) -> bool:
    """Whether others may enter or read it. On Windows permissions are no modes."""
    return os.name == "posix" and bool(path.stat().st_mode & _OTHERS)
