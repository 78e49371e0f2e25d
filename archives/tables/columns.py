"""Assigns the columns of a table to fields and findings, by their names or as the user maps them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from archives.tables.cells import CellTable
from retrieval.errors import InvalidRequest, MissingColumn
from retrieval.labels import find_term
from retrieval.labels.vocabulary import OTHER_HEADS

# Fields of a study, given in all of its rows or in one.
TEXTS = ("findings", "impression", "indication", "comparison", "mesh", "problems", "study_date")
FIELDS = ("image", "study_id", "image_id", "view", *TEXTS, "report", "labels")
# Other names of a field in public data sets: NIH ChestX-ray14.
_ALIASES = {"labels": ("finding labels", "finding_labels")}
_PATIENT = ("patientid", "subjectid", "patient", "subject", "patientnumber", "mrn")


@dataclass(frozen=True, slots=True)
class TableColumns:
    """The columns of a table.

    Attributes:
        fields: Column by field.
        named: Column by finding, as mapped by the user.
        found: Column by finding, for columns with the name of a finding.
        patient: The column with patient ids, if there is one.
    """

    fields: dict[str, str]
    named: dict[str, str]
    found: dict[str, str]
    patient: str | None


def parse_columns(pairs: list[str]) -> dict[str, str]:
    """`["image=path", "Pleural Effusion=pe"]` as a mapping from field or finding to column.

    Raises:
        InvalidRequest: a pair does not have this form, or its field is unknown or mapped twice.
    """
    columns: dict[str, str] = {}
    for pair in pairs:
        field, _, column = (part.strip() for part in pair.partition("="))
        if not field or not column:
            raise InvalidRequest(f"--column takes FIELD=COLUMN, as in image=path, found {pair!r}")
        if field in columns:
            raise InvalidRequest(f"--column maps the field {field} twice: to {columns[field]!r} and to {column!r}")
        columns[field] = column
    _require_known(columns)
    return columns


def is_key(wanted: Mapping[str, str], name: str) -> bool:
    """Whether `name` is the name of the image column, which each table must have."""
    return name.casefold() == wanted.get("image", "image").casefold()


def find_columns(table: CellTable, wanted: Mapping[str, str]) -> TableColumns:
    """The columns of the table: first those that `wanted` maps, then free columns with the name of a field or finding.

    Raises:
        MissingColumn: there is no image column, or no column that `wanted` names.
        SourceError: several columns have the name of one field.
        InvalidRequest: a field is unknown, or both findings and a whole report are mapped.
    """
    _require_known(wanted)
    fields: dict[str, str] = {}
    named: dict[str, str] = {}
    for field, name in wanted.items():
        if not (column := table.find(name, exactly=True)):
            raise MissingColumn(f"{table.path} has no column {name!r}; found {table.found}")
        (fields if field in FIELDS else named)[field] = column
    for field in FIELDS:
        if field not in fields and (column := _find_field(table, field, {*fields.values(), *named.values()})):
            fields[field] = column
    if "image" not in fields:
        raise MissingColumn(
            f"{table.path} has no column `image`; name the column with the files: --column image=COLUMN; "
            f"found {table.found}"
        )
    if "report" in wanted and "findings" in fields:
        raise InvalidRequest(
            f"{table.path} has findings in {fields['findings']!r}, and a whole report is read only without findings; "
            "leave out --column report, or map findings=COLUMN instead"
        )
    taken = {*fields.values(), *named.values()}
    heads = {_head(finding) for finding in named}
    found = {name: name for name in table.columns if name not in taken and _head(name) and _head(name) not in heads}
    plain = {re.sub(r"[\W_]", "", name.casefold()): name for name in table.columns if name not in taken}
    patient = next((plain[name] for name in _PATIENT if name in plain), None)
    return TableColumns(fields, named, found, patient)


def _find_field(table: CellTable, field: str, taken: set[str]) -> str | None:
    found = [column for name in (field, *_ALIASES.get(field, ())) if (column := table.find(name))]
    free = [column for column in found if column not in taken]
    if len(free) > 1:
        raise table.ambiguous(free)
    return free[0] if free else None


def _head(name: str) -> str | None:
    """The finding of a column with this name; None for anatomical structures and other terms."""
    term = find_term(name)
    return term[0] if term and term[0] not in OTHER_HEADS and any(map(str.isalpha, name)) else None


def _require_known(columns: Mapping[str, str]) -> None:
    if unknown := [field for field in columns if field not in FIELDS and find_term(field) is None]:
        raise InvalidRequest(
            f"unknown field {', '.join(map(repr, unknown))}; fields: {', '.join(FIELDS)}, and the findings of both "
            "vocabularies"
        )
