"""Paths of the ledgers in a home."""

from __future__ import annotations

import hashlib
from pathlib import Path

from retrieval.index_address import node_addresses


def ledger_path(home: Path, index_location: str, collection: str) -> Path:
    """The file of a collection's ledger. Each index, embedded or on a server, has separate ledgers.

    That of a cluster lies in the folder of one node, the first of `index_location` that has it. So it is found again when a
    node is added, and when the order changes.
    """
    nodes = node_addresses(index_location) if "://" in index_location else [str(Path(index_location).resolve())]
    folders = [home / "ledger" / hashlib.sha256(node.encode()).hexdigest()[:12] for node in nodes]
    paths = [folder / f"{collection}.sqlite" for folder in folders]
    known = [path for path in paths if path.exists()] or [path for path in paths if path.parent.is_dir()]
    return (known or paths)[0]


def adopt_ledgers(home: Path, index_address: str, index_location: str) -> None:
    """Move the ledgers of an earlier version, which named their folder by the address with its password."""
    old, new = (ledger_path(home, each, "").parent for each in (index_address, index_location))
    if old != new and old.is_dir() and not new.exists():
        old.rename(new)
