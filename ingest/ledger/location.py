"""Paths of the ledgers in a home."""

from __future__ import annotations

import hashlib
from pathlib import Path


def ledger_path(home: Path, index_location: str, collection: str) -> Path:
    """The file of a collection's ledger. Each index, embedded or on a server, has separate ledgers."""
    location = index_location if "://" in index_location else str(Path(index_location).resolve())
    return home / "ledger" / hashlib.sha256(location.encode()).hexdigest()[:12] / f"{collection}.sqlite"


def adopt_ledgers(home: Path, index_address: str, index_location: str) -> None:
    """Move the ledgers of an earlier version, which named their folder by the address with its password."""
    old, new = (ledger_path(home, each, "").parent for each in (index_address, index_location))
    if old != new and old.is_dir() and not new.exists():
        old.rename(new)
