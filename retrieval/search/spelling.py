"""Filters as people write them, in the spelling of the collection."""

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

_NAMED = frozenset[str]().union(*QUALIFIERS.values())


def in_own_spelling(filters: Filters, collection: interface.Collection) -> Filters:
    """`filters` with every finding and qualifier spelled as `collection` does, in whatever case it was written.

    Raises:
        UnknownFinding: a finding of neither vocabulary, which no image of the collection has either. InvalidRequest: such a
            qualifier. Both suggest what may have been meant: a filter that can match nothing would hide a slip.
    """

    @functools.cache
    def findings() -> set[str]:
        return {name for field in ("present", "uncertain", "absent") for name in collection.facet(field)}

    @functools.cache
    def described() -> frozenset[str]:
        found = collection.facet("qualified")
        return _NAMED.union(name.rpartition("/")[2] for name in found)

    def spelled(name: str) -> str:
        finding, slash, qualifier = name.partition("/")
        spelling = resolve_finding(finding, findings)
        if not slash:
            return spelling
        # Other qualifiers are words of this collection (`patchy`), and asking it costs a request.
        known = _NAMED if _folded(qualifier) in _NAMED else described()
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
    """The qualifier `name` in small letters, if it is one of `known`."""
    if (wanted := _folded(name)) in known:
        return wanted
    near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(map(repr, near))}?" if near else "see the facets"
    raise InvalidRequest(f"{what}: there is no {name!r}; {hint}")


def _folded(name: str) -> str:
    return " ".join(name.split()).lower()
