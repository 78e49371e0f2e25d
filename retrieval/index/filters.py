"""What a search may be narrowed to: one shape in Python, JSON and both engines."""

from __future__ import annotations

from typing import Any

import msgspec

from retrieval.records import View


class Filters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Conditions that every hit obeys; they are all joined by "and", and an empty one does not narrow.

    Findings may be of either vocabulary (Indiana heads such as `Opacity`, CheXpert-14 such as `Lung Opacity`). `all` and
    `any` ask for findings that are present; `none` refuses images for which a finding is present or uncertain. Images
    without labels carry no finding, so `none` lets them pass.
    """

    all: tuple[str, ...] = ()
    any: tuple[str, ...] = ()
    none: tuple[str, ...] = ()
    view: View | None = None
    dataset: str | None = None
    study_id: str | None = None
    has_report: bool | None = None
    exclude_studies: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The conditions that narrow, as plain values."""
        plain = msgspec.json.decode(msgspec.json.encode(self))
        return {name: value for name, value in plain.items() if value not in (None, [])}


def render_filter(filters: Filters, api: Any) -> Any:
    """`filters` in the classes of `api`, which is `qdrant_edge` or `qdrant_client.models`; None if nothing narrows.

    Both libraries name these classes and their fields alike.
    """

    def equals(key: str, value: str) -> Any:
        return api.FieldCondition(key=key, match=api.MatchValue(value=value))

    def among(key: str, values: tuple[str, ...]) -> Any:
        return api.FieldCondition(key=key, match=api.MatchAny(any=list(values)))

    must = [equals("present", finding) for finding in filters.all]
    must_not = []
    if filters.any:
        must.append(among("present", filters.any))
    if filters.none:
        must_not += [among("present", filters.none), among("uncertain", filters.none)]
    for key in ("view", "dataset", "study_id"):
        value = getattr(filters, key)
        if value is not None:
            must.append(equals(key, value))
    if filters.has_report is not None:
        # A report without text has the empty group.
        (must_not if filters.has_report else must).append(equals("report_group", ""))
    if filters.exclude_studies:
        must_not.append(among("study_id", filters.exclude_studies))
    return api.Filter(must=must, must_not=must_not) if must or must_not else None
