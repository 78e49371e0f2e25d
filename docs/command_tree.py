"""Every command of `cxr`, from the live command tree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cxr.main


def walk_commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each command with its path below `cxr`, such as `("ingest", "status")`; groups stand before their commands."""
    for name in cxr.main.COMMANDS:
        yield from _walk((name,), cxr.main.load_command(name))


def _walk(path: tuple[str, ...], command: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from _walk((*path, name), child)
