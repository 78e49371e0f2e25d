"""Findings and qualifiers of filters, in the spelling of the collection."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Set

import msgspec

from retrieval.errors import InvalidRequest
from retrieval.index import interface
from retrieval.index.filters import Filters
from retrieval.labels import QUALIFIERS, resolve_finding
from retrieval.labels.vocabulary import unique

_FIXED_QUALIFIERS = frozenset[str]().union(*QUALIFIERS.values())


def use_collection_spelling(filters: Filters, collection: interface.Collection) -> Filters:
    """`filters` with every finding and qualifier in the spelling of `collection`, whatever its case.

    Raises:
        UnknownFinding: a finding that neither a vocabulary nor the collection has. InvalidRequest: such a qualifier. Both
            suggest similar names; a filter that matches nothing would hide a typing error.
    """

    @functools.cache
    def findings() -> set[str]:
        return {name for field in ("present", "uncertain", "absent") for name in collection.facet(field)}

    @functools.cache
    def stored_qualifiers() -> frozenset[str]:
        found = collection.facet("qualified")
        return _FIXED_QUALIFIERS.union(name.rpartition("/")[2] for name in found)

    def spelled(name: str) -> str:
        finding, slash, qualifier = name.partition("/")
        spelling = resolve_finding(finding, findings)
        if not slash:
            return spelling
        # Other qualifiers are words of this collection (`patchy`); reading them costs a request.
        known = _FIXED_QUALIFIERS if _normalize(qualifier) in _FIXED_QUALIFIERS else stored_qualifiers()
        return f"{spelling}/{_qualifier(qualifier, known, 'qualifier')}"

    groups = {
        group: unique(spelled(name) for name in unique(getattr(filters, group)))
        for group in ("all", "any", "none", "absent")
    }
    kinds = {
        kind: unique(_qualifier(name, known, kind) for name in getattr(filters, kind))
        for kind, known in QUALIFIERS.items()
    }
    return msgspec.structs.replace(filters, **groups, **kinds)


def _qualifier(name: str, known: Set[str], what: str) -> str:
    """The qualifier `name` in lower case, if it is one of `known`."""
    if (wanted := _normalize(name)) in known:
        return wanted
    near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(map(repr, near))}?" if near else "see the facets"
    raise InvalidRequest(f"{what}: there is no {name!r}; {hint}")


def _normalize(name: str) -> str:
    return " ".join(name.split()).lower()
