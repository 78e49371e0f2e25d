"""The query: one form on the command line, over HTTP (as JSON) and in Python."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta

from retrieval.errors import InvalidRequest
from retrieval.index.filters import Certainty, Filters, Id, Name, require_shape
from retrieval.records import View
from retrieval.search.rerank import CANDIDATES, Collapse, Match

LIMIT_K = 100
LIMIT_TEXT = 2000
"""Longest query text, in characters. Text towers read at most 256 tokens."""
LIMIT_CANDIDATES = 1000
LIMIT_EXAMPLES = 20
LIMIT_BATCH = 32
"""Most queries in one batch."""

Facet = Literal[
    "present",
    "uncertain",
    "absent",
    "problems",
    "mesh",
    "qualified",
    "sides",
    "sites",
    "severities",
    "view",
    "dataset",
]
"""Fields with countable values."""

CHOICES: dict[str, Any] = {
    "view": View,
    "certainty": Certainty,
    "match": Match,
    "collapse": Collapse,
    "facets": Facet,
}
"""The allowed values of fields with a fixed set of values, by name of the field."""


class Case(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A stored study, or one of its images. `dataset` is needed if several datasets have a study of this id."""

    study_id: Id
    dataset: Name | None = None
    image_id: Id | None = None


Text = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=LIMIT_TEXT,
        pattern=r"\S",
        description="What to look for, in words.",
        examples=["cardiomegaly with pleural effusion"],
    ),
]
Examples = Annotated[tuple[Case, ...], Meta(max_length=LIMIT_EXAMPLES)]


class Query(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to look for, and how to order the hits.

    `text`, `image` (the bytes of a PNG, JPEG, WebP or DICOM file; base64 in JSON), `study` and `like` can be combined; at
    least one is required. `unlike` are cases that hits should differ from. The study and the examples are not hits.

    Findings that the text denies become a filter, unless `interpret` is false. `match` is the origin of the candidates: the
    nearest images (`dense`), the reports that contain the words (`bm25`), or both, fused (`hybrid`). `rerank` is the name
    of a preset (`signals`, `visual`, `report`), weights by signal, or `none`. `diversity` is 0 to 1. `collapse` keeps one
    hit per study, or per group of equal reports. `candidates` is the number of images that are reordered and collapsed;
    more take longer. `facets` are fields whose values are counted under the filters.
    """

    text: Text | None = None
    image: bytes | None = None
    study: Case | None = None
    like: Examples = ()
    unlike: Examples = ()
    filters: Filters = Filters()
    interpret: bool = True
    match: Match = "dense"
    rerank: Annotated[str, Meta(max_length=100)] | dict[str, float] = "signals"
    diversity: Annotated[float, Meta(ge=0, le=1)] = 0.0
    collapse: Collapse = "none"
    candidates: Annotated[int, Meta(ge=1, le=LIMIT_CANDIDATES)] = CANDIDATES
    facets: Annotated[tuple[Facet, ...], Meta(max_length=11)] = ()
    k: Annotated[int, Meta(ge=1, le=LIMIT_K, description="Number of hits.", examples=[10])] = 10

    def require_valid(self) -> None:
        """Check all values. A query made in Python may have values of any type and range.

        Raises:
            InvalidRequest: names the field, the expected and the given value.
        """
        for name, type_, what in (("filters", Filters, "Filters"), ("image", bytes | None, "the bytes of a file")):
            if not isinstance(value := getattr(self, name), type_):
                raise InvalidRequest(f"{name} must be {what}, found {type(value).__name__}")
        with suppress(TypeError, AttributeError):  # values of other types, which `require_shape` reports
            self._require_ranges()
        self.filters.require_valid()
        # Without the filters, which are checked above, and the image, which is slow to encode.
        require_shape(msgspec.structs.replace(self, image=None, filters=Filters()), "the query")

    def _require_ranges(self) -> None:
        if self.text is not None and (not self.text.strip() or len(self.text) > LIMIT_TEXT):
            raise InvalidRequest(f"text must have 1 to {LIMIT_TEXT:,} characters, found {len(self.text):,}")
        if not 1 <= self.k <= LIMIT_K:
            raise InvalidRequest(f"k must be 1 to {LIMIT_K}, found {self.k}")
        if not 1 <= self.candidates <= LIMIT_CANDIDATES:
            raise InvalidRequest(f"candidates must be 1 to {LIMIT_CANDIDATES:,}, found {self.candidates}")
        if not 0 <= self.diversity <= 1:
            raise InvalidRequest(f"diversity must be 0 to 1, found {self.diversity}")
        for name in ("match", "collapse"):
            allowed = get_args(CHOICES[name])
            if getattr(self, name) not in allowed:
                raise InvalidRequest(f"{name} must be one of {', '.join(allowed)}, found {getattr(self, name)!r}")
        if max(len(self.like), len(self.unlike)) > LIMIT_EXAMPLES:
            raise InvalidRequest(f"like and unlike take at most {LIMIT_EXAMPLES} cases each")


_WRONG_CHOICE = "Invalid enum value"
_LAST_NAME = re.compile(r"(\w+)(?:\[[^]]*])?`?$")


def add_choices(message: str, path: str, choices: Mapping[str, Any] = CHOICES) -> str:
    """`message` about the value at `path`, such as `queries[0].match` or `$.filters.view`, with the allowed values added."""
    name = _LAST_NAME.search(path)
    if not message.startswith(_WRONG_CHOICE) or name is None or name[1] not in choices:
        return message
    return f"{message}; expected {', '.join(get_args(choices[name[1]]))}"
