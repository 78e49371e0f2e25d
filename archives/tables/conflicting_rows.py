"""Rows that say of no image for certain whose it is."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from pathlib import Path

from retrieval.records import Quarantined


def claimed_by_several(claims: Iterable[tuple[Hashable, str]]) -> frozenset[str]:
    """The files, of pairs of study and file (empty: none), that more than one study claims."""
    studies: dict[str, Hashable] = {}
    return frozenset(file for study, file in claims if file and studies.setdefault(file, study) != study)


def conflicting_study(name: str, table: Path) -> Quarantined:
    """The row that names the file `name`, as quarantined."""
    detail = (
        f"{name} stands in rows of more than one study of {table}, perhaps under another spelling; it is indexed with none "
        "of them. Correct the rows; --prune removes it where it was indexed before"
    )
    return Quarantined(name, "conflicting_study", detail)


def several_patients(name: str, table: Path) -> Quarantined:
    """The row that names the file `name`, of a study id that is not that of one study."""
    detail = (
        f"the study id of {name} stands in rows of more than one patient of {table}, so that it names no study; none of "
        "them is indexed. Give a column whose ids are unique in the table: --column study_id=COLUMN"
    )
    return Quarantined(name, "conflicting_study", detail)
