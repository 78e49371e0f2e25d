"""Files that rows of several studies name: whose they are, no table says."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from pathlib import Path

from retrieval.records import Quarantined


def claimed_by_several(claims: Iterable[tuple[Hashable, str]]) -> frozenset[str]:
    """The files, of pairs of study and file (empty: none), that more than one study claims."""
    studies: dict[str, Hashable] = {}
    return frozenset(file for study, file in claims if file and studies.setdefault(file, study) != study)


def conflicting_study(name: str, table: Path) -> Quarantined:
    """The row that names the file `name`, set aside."""
    detail = (
        f"{name} stands in rows of more than one study of {table}, perhaps under another spelling; it is indexed with none "
        "of them. Correct the rows; --prune removes it where it was indexed before"
    )
    return Quarantined(name, "conflicting_study", detail)
