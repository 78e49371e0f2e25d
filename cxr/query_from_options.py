"""The query that the options of `cxr search` describe, as the same `Query` that HTTP and Python use."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from retrieval.errors import InvalidRequest
from retrieval.imaging.decode import read_file
from retrieval.index.filters import Filters
from retrieval.search.query import Query, add_choices


def read_query(
    document: str | None, filters: str | None, *, conditions: dict[str, Any], image: Path | None, **options: Any
) -> Query:
    """The query in `document` (JSON, the path of a JSON file, or `-` for stdin), overridden by the options.

    `filters` is JSON. `conditions` extend the filters: lists are joined, single values replace. Options that are None were
    not given.

    Raises:
        InvalidRequest: not JSON, or not a valid `Query`; the message names the field.
        ImageError: the image file is missing, empty or too large.
    """
    plain = _parse_object(_read_document(document), "--query") if document is not None else {}
    merged: dict[str, Any] = {}
    for given_filters in (plain.get("filters", {}), _parse_object(filters, "--filters") if filters is not None else {}):
        try:
            msgspec.convert(given_filters, Filters)  # before the conditions are added, which needs valid filters
        except msgspec.ValidationError as error:
            raise InvalidRequest(f"the filters: {add_choices(str(error), str(error))}") from error
        merged |= given_filters
    for name, value in conditions.items():
        if isinstance(value, list):
            merged[name] = [*merged.get(name, ()), *value]
        elif value is not None:
            merged[name] = value
    given = {name: value for name, value in options.items() if value is not None}
    if (rerank := given.get("rerank", "")).startswith("{"):
        given["rerank"] = _parse_object(rerank, "--rerank")
    if "study" in given:
        given["study"] = {"study_id": given["study"]}
    for name in ("like", "unlike"):
        if name in given:
            given[name] = [{"study_id": study_id} for study_id in given[name]]
    try:
        query = msgspec.convert(plain | given | {"filters": merged}, Query)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"the query: {add_choices(str(error), str(error))}") from error
    return query if image is None else msgspec.structs.replace(query, image=read_file(image))


def _read_document(document: str) -> str:
    if document == "-":
        return sys.stdin.read()
    if document.lstrip().startswith("{"):
        return document
    try:
        return Path(document).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"--query: {document} is neither JSON nor a JSON file: {error}") from error


def _parse_object(text: str, option: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InvalidRequest(f"{option}: expected JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidRequest(f"{option}: expected a JSON object, found {text[:60]}")
    return value
