"""Checks of owners and permissions for `cxr doctor`."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from retrieval.file_permissions import is_open_to_others, is_private_home, protected_paths, secret_entries


def permission_problems(home: Path, index: Path | None = None) -> list[str]:
    """Problems with owners and permissions of `home` and the embedded `index`, with the remedy of each."""
    problems = [
        f"other users of this machine can read {path}, which holds reports and thumbnails; run: chmod go= {path}"
        for path in protected_paths(home, index)
        if is_open_to_others(path)
    ]
    if not home.is_dir() or not hasattr(os, "geteuid"):
        return problems
    if not is_private_home(home) and _is_writable_by_others(home):
        problems.append(
            f"other users of this machine can replace the files in {home}, keys included; run: chmod go-w {home}"
        )
    owner = home.stat().st_uid
    if owner != os.geteuid():
        problems.append(
            f"{home} belongs to user {owner}, and this is user {os.geteuid()}; run as its owner, or chown -R it"
        )
    foreign = [path.name for path in secret_entries(home) if path.stat().st_uid not in (owner, os.geteuid())]
    if foreign:
        problems.append(f"{', '.join(foreign)} in {home} belong to other users; run: chown -R {owner} {home}")
    return problems


def _is_writable_by_others(folder: Path) -> bool:
    """Whether other users may rename and replace its entries; with the sticky bit they may not."""
    mode = folder.stat().st_mode
    return os.name == "posix" and not mode & stat.S_ISVTX and bool(mode & (stat.S_IWGRP | stat.S_IWOTH))
