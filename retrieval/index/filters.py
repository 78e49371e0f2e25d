"""What a search may be narrowed to: one shape in Python, JSON and both engines."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta

from retrieval.errors import InvalidRequest
from retrieval.records import LIMIT_ID, View

Certainty = Literal["present", "uncertain", "either"]
Finding = Annotated[str, Meta(min_length=1, max_length=200)]
Findings = Annotated[tuple[Finding, ...], Meta(max_length=64)]
Qualifiers = Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=100)], ...], Meta(max_length=64)]
LIMIT_NAME = 200
"""Characters of the name of a dataset."""
Name = Annotated[str, Meta(min_length=1, max_length=LIMIT_NAME)]
Id = Annotated[str, Meta(min_length=1, max_length=LIMIT_ID)]
Day = Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}$", max_length=10)]


class Filters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Conditions that every hit obeys; they are all joined by "and", and an empty one does not narrow.

    Findings may be of either vocabulary (Indiana heads such as `Opacity`, CheXpert-14 such as `Lung Opacity`), in any
    case, and may carry one qualifier (`Opacity/left`, `Lung Opacity/mild`). `all` and `any` ask for findings that are
    present, or as `certainty` says; `none` refuses images for which a finding is present or uncertain; `absent` asks for
    findings that the report denies in so many words. Images without labels carry no finding, so `none` lets them pass.
    `sides`, `sites` and `severities` ask for any of their values on any finding. Dates are `YYYY-MM-DD`, both inclusive;
    an image without a date is in no range.
    """

    all: Findings = ()
    any: Findings = ()
    none: Findings = ()
    absent: Findings = ()
    certainty: Certainty = "present"
    sides: Qualifiers = ()
    sites: Qualifiers = ()
    severities: Qualifiers = ()
    view: View | None = None
    dataset: Name | None = None
    study_id: Id | None = None
    date_from: Day | None = None
    date_to: Day | None = None
    has_report: bool | None = None
    exclude_studies: Annotated[tuple[Id, ...], Meta(max_length=1000)] = ()

    def to_dict(self) -> dict[str, Any]:
        """The conditions that narrow, as plain values."""
        plain = msgspec.json.decode(msgspec.json.encode(self, enc_hook=_plain))
        return {
            name: value for name, value in plain.items() if value not in (None, []) and (name, value) != _BY_DEFAULT
        }

    def require_valid(self) -> None:
        """Refuse what the shape alone does not.

        Raises:
            InvalidRequest: a date that no calendar has, a qualified finding where only bare ones are known, or, in filters
                made in Python, what JSON could not hold or `Filters` does not allow.
        """
        require_shape(self, "filters")
        for name in ("date_from", "date_to"):
            try:
                date.fromisoformat(getattr(self, name) or "2000-01-01")
            except ValueError as error:
                raise InvalidRequest(f"{name}: expected a date such as 2024-01-31: {error}") from error
        if self.certainty != "present" and any("/" in finding for finding in (*self.all, *self.any)):
            raise InvalidRequest("qualifiers are known of present findings only; ask with certainty 'present'")
        if any("/" in finding for finding in self.absent):
            raise InvalidRequest("absent: expected findings without a qualifier")


def require_shape(value: msgspec.Struct, what: str) -> None:
    """Refuse what the type of `value` does not allow: JSON is checked when it is read, values made in Python are not.

    Raises:
        InvalidRequest: naming `what` and the field.
    """
    try:
        msgspec.json.decode(msgspec.json.encode(value, enc_hook=_plain), type=type(value))
    except (msgspec.ValidationError, TypeError) as error:
        raise InvalidRequest(f"{what}: {error}") from error
    except UnicodeEncodeError as error:  # Python's stand-ins for bytes that it could not read, as in arguments
        raise InvalidRequest(f"{what}: a text holds bytes that are not UTF-8") from error


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is no value of a query")


_BY_DEFAULT = ("certainty", "present")


def render_filter(filters: Filters, api: Any, exclude: tuple[str, ...] = ()) -> Any:
    """`filters` in the classes of `api`, which is `qdrant_edge` or `qdrant_client.models`; None if nothing narrows.

    `exclude` names points that no hit may be. Both libraries name nearly all classes and their fields alike.
    """
    must = [_found(finding, filters.certainty, api) for finding in filters.all]
    must_not = []
    if filters.any:
        must.append(api.Filter(should=[_found(finding, filters.certainty, api) for finding in filters.any]))
    if bare := tuple(finding for finding in filters.none if "/" not in finding):
        must_not += [_among("present", bare, api), _among("uncertain", bare, api)]
    if qualified := tuple(finding for finding in filters.none if "/" in finding):
        must_not.append(_among("qualified", qualified, api))
    must += [_equals("absent", finding, api) for finding in filters.absent]
    must += [
        _among(key, getattr(filters, key), api) for key in ("sides", "sites", "severities") if getattr(filters, key)
    ]
    for key in ("view", "dataset", "study_id"):
        value = getattr(filters, key)
        if value is not None:
            must.append(_equals(key, value, api))
    if filters.date_from or filters.date_to:
        between = getattr(api, "RangeDateTime", None) or api.DatetimeRange
        must.append(
            api.FieldCondition(
                key="study_date", range=between(gte=_start(filters.date_from), lte=_end(filters.date_to))
            )
        )
    if filters.has_report is not None:
        # A report without text has the empty group.
        (must_not if filters.has_report else must).append(_equals("report_group", "", api))
    if filters.exclude_studies:
        must_not.append(_among("study_id", filters.exclude_studies, api))
    if exclude:
        must_not.append(only_points(exclude, api))
    return api.Filter(must=must, must_not=must_not) if must or must_not else None


def only_points(point_ids: Iterable[Any], api: Any) -> Any:
    """The condition that a point is one of `point_ids`, strings or `UUID`s."""
    if hasattr(api, "EdgeShard"):  # the two name this one's field differently
        return api.HasIdCondition(set(point_ids))
    return api.HasIdCondition(has_id=list(point_ids))


def _equals(key: str, value: str, api: Any) -> Any:
    return api.FieldCondition(key=key, match=api.MatchValue(value=value))


def _among(key: str, values: tuple[str, ...], api: Any) -> Any:
    if len(values) == 1:  # a twentieth faster
        return _equals(key, values[0], api)
    return api.FieldCondition(key=key, match=api.MatchAny(any=list(values)))


def _found(finding: str, certainty: Certainty, api: Any) -> Any:
    if "/" in finding:
        return _equals("qualified", finding, api)
    if certainty == "either":
        return api.Filter(should=[_equals("present", finding, api), _equals("uncertain", finding, api)])
    return _equals(certainty, finding, api)


def _start(day: str | None) -> str | None:
    return f"{day}T00:00:00Z" if day else None


def _end(day: str | None) -> str | None:
    return f"{day}T23:59:59Z" if day else None
