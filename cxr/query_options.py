"""A query from the options of the command line, in the shape that HTTP and Python use, too."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retrieval.search.query import Query


def read_query(
    document: str | None, filters: str | None, *, conditions: dict[str, Any], image: Path | None, **options: Any
) -> Query:
    """The query of `document` (JSON, the path of a file of it, or `-`), with what the options give put in its place.

    `filters` is JSON; `conditions` are added to it: lists join, single values replace. Options that are None were not given.

    Raises:
        InvalidRequest: no JSON, or not of the shape `Query`; the message names the field.
        ImageError: the image file is absent, empty or too large.
    """
    import msgspec

    from retrieval.errors import InvalidRequest
    from retrieval.imaging.decode import read_file
    from retrieval.index.filters import Filters
    from retrieval.search.query import Query, add_choices

    plain = _object(_read(document), "--query") if document is not None else {}
    narrowed: dict[str, Any] = {}
    for given_filters in (plain.get("filters", {}), _object(filters, "--filters") if filters is not None else {}):
        try:
            msgspec.convert(given_filters, Filters)  # before they are added to, which takes the right shape for granted
        except msgspec.ValidationError as error:
            raise InvalidRequest(f"the filters: {add_choices(str(error), str(error))}") from error
        narrowed |= given_filters
    for name, value in conditions.items():
        if isinstance(value, list):
            narrowed[name] = [*narrowed.get(name, ()), *value]
        elif value is not None:
            narrowed[name] = value
    given = {name: value for name, value in options.items() if value is not None}
    if (rerank := given.get("rerank", "")).startswith("{"):
        given["rerank"] = _object(rerank, "--rerank")
    if "study" in given:
        given["study"] = {"study_id": given["study"]}
    for name in ("like", "unlike"):
        if name in given:
            given[name] = [{"study_id": study_id} for study_id in given[name]]
    try:
        query = msgspec.convert(plain | given | {"filters": narrowed}, Query)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"the query: {add_choices(str(error), str(error))}") from error
    return query if image is None else msgspec.structs.replace(query, image=read_file(image))


def _read(document: str) -> str:
    from retrieval.errors import InvalidRequest

    if document == "-":
        return sys.stdin.read()
    if document.lstrip().startswith("{"):
        return document
    try:
        return Path(document).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"--query: {document} is neither JSON nor a file of it: {error}") from error


def _object(text: str, option: str) -> dict[str, Any]:
    from retrieval.errors import InvalidRequest

    try:
        value = json.loads(text)
    except ValueError as error:
        raise InvalidRequest(f"{option}: expected JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidRequest(f"{option}: expected a JSON object, found {text[:60]}")
    return value
