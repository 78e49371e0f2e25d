"""Filters of a search: one form in Python, in JSON and for both engines."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
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
"""Longest name of a dataset, in characters."""
Name = Annotated[str, Meta(min_length=1, max_length=LIMIT_NAME)]
Id = Annotated[str, Meta(min_length=1, max_length=LIMIT_ID)]
Day = Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}$", max_length=10)]


class Filters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Conditions on hits. Every hit matches all of them; an empty condition matches every image.

    Findings are names of either vocabulary (Indiana heads such as `Opacity`, CheXpert-14 such as `Lung Opacity`), in any
    case, with at most one qualifier (`Opacity/left`, `Lung Opacity/mild`). `all` and `any` require findings with the status
    `certainty`, which is present by default. `none` excludes images with a present or uncertain finding; images without
    labels have no finding and are not excluded. `absent` requires findings that the report explicitly denies. `sides`,
    `sites` and `severities` require any of their values on any finding. Dates are `YYYY-MM-DD` and inclusive; images
    without a date are in no range.
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
        """The conditions that are set, as plain values."""
        plain = msgspec.json.decode(msgspec.json.encode(self, enc_hook=_plain))
        return {
            name: value for name, value in plain.items() if value not in (None, []) and (name, value) != _BY_DEFAULT
        }

    def require_valid(self) -> None:
        """Check the values.

        Raises:
            InvalidRequest: an impossible date, a qualifier where none is allowed, or, in filters made in Python, a value
                that `Filters` does not allow.
        """
        require_shape(self, "filters")
        for name in ("date_from", "date_to"):
            try:
                date.fromisoformat(getattr(self, name) or "2000-01-01")
            except ValueError as error:
                raise InvalidRequest(f"{name}: expected a date such as 2024-01-31: {error}") from error
        if self.certainty != "present" and any("/" in finding for finding in (*self.all, *self.any)):
            raise InvalidRequest("only present findings have qualifiers; use certainty 'present'")
        if any("/" in finding for finding in self.absent):
            raise InvalidRequest("absent: expected findings without a qualifier")


def require_shape(value: msgspec.Struct, what: str) -> None:
    """Check that `value` has the form of its type. JSON is checked when it is decoded; values made in Python are not.

    Raises:
        InvalidRequest: names `what` and the field.
    """
    try:
        msgspec.json.decode(msgspec.json.encode(value, enc_hook=_plain), type=type(value))
    except (msgspec.ValidationError, TypeError) as error:
        raise InvalidRequest(f"{what}: {error}") from error
    except UnicodeEncodeError as error:  # surrogates for undecodable bytes of a command line
        raise InvalidRequest(f"{what}: a text contains bytes that are not UTF-8") from error


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not a value of a query")


_BY_DEFAULT = ("certainty", "present")


@dataclass(frozen=True, slots=True)
class FilterClasses:
    """The classes of an engine's filters: `api` is `qdrant_edge` or `qdrant_client.models`.

    Both name nearly all classes and fields alike. `date_range` and `has_id` make the two conditions that differ.
    """

    api: Any
    date_range: Callable[..., Any]
    has_id: Callable[[Iterable[Any]], Any]


def render_filter(filters: Filters, classes: FilterClasses, exclude: tuple[str, ...] = ()) -> Any:
    """`filters` in the classes of an engine; None if there is no condition. Hits are never points of `exclude`."""
    api = classes.api
    must = [_has_finding(finding, filters.certainty, api) for finding in filters.all]
    must_not = []
    if filters.any:
        must.append(api.Filter(should=[_has_finding(finding, filters.certainty, api) for finding in filters.any]))
    if bare := tuple(finding for finding in filters.none if "/" not in finding):
        must_not += [_has_any("present", bare, api), _has_any("uncertain", bare, api)]
    if qualified := tuple(finding for finding in filters.none if "/" in finding):
        must_not.append(_has_any("qualified", qualified, api))
    must += [_has_value("absent", finding, api) for finding in filters.absent]
    must += [
        _has_any(key, getattr(filters, key), api) for key in ("sides", "sites", "severities") if getattr(filters, key)
    ]
    for key in ("view", "dataset", "study_id"):
        value = getattr(filters, key)
        if value is not None:
            must.append(_has_value(key, value, api))
    if filters.date_from or filters.date_to:
        dates = classes.date_range(gte=_start(filters.date_from), lte=_end(filters.date_to))
        must.append(api.FieldCondition(key="study_date", range=dates))
    if filters.has_report is not None:
        # Reports without text have the empty group.
        (must_not if filters.has_report else must).append(_has_value("report_group", "", api))
    if filters.exclude_studies:
        must_not.append(_has_any("study_id", filters.exclude_studies, api))
    if exclude:
        must_not.append(classes.has_id(exclude))
    return api.Filter(must=must, must_not=must_not) if must or must_not else None


def _has_value(key: str, value: str, api: Any) -> Any:
    return api.FieldCondition(key=key, match=api.MatchValue(value=value))


def _has_any(key: str, values: tuple[str, ...], api: Any) -> Any:
    if len(values) == 1:  # 5 % faster
        return _has_value(key, values[0], api)
    return api.FieldCondition(key=key, match=api.MatchAny(any=list(values)))


def _has_finding(finding: str, certainty: Certainty, api: Any) -> Any:
    if "/" in finding:
        return _has_value("qualified", finding, api)
    if certainty == "either":
        return api.Filter(should=[_has_value("present", finding, api), _has_value("uncertain", finding, api)])
    return _has_value(certainty, finding, api)


def _start(day: str | None) -> str | None:
    return f"{day}T00:00:00Z" if day else None


def _end(day: str | None) -> str | None:
    return f"{day}T23:59:59Z" if day else None
