"""The page's search form: its fields, as an address or a multipart body carries them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any
from urllib.parse import urlencode

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from retrieval.errors import InvalidRequest
from retrieval.index.filters import Filters
from retrieval.labels.laterality import Side
from retrieval.records import View
from retrieval.search.query import LIMIT_EXAMPLES, LIMIT_TEXT, Case, Query, add_choices
from retrieval.search.rerank import Collapse, Match, Preset
from service.api.problems import CHOICES
from service.api.schemas import K

K_DEFAULT = 12
"""Fills rows of three and of four cards."""


class PageForm(msgspec.Struct, frozen=True, kw_only=True, rename={"present": "with", "absent": "without"}):
    """The form as filled in. `errors` names the values that cannot be used; they are left out."""

    text: str = ""
    study: str = ""
    like: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    view: View | None = None
    side: Side | None = None
    severity: Annotated[str, Meta(max_length=100)] | None = None
    dataset: Annotated[str, Meta(max_length=200)] | None = None
    model: str | None = None
    k: K = K_DEFAULT
    rerank: Preset = "signals"
    match: Match = "dense"
    collapse: Collapse = "none"
    literal: str = ""
    errors: tuple[str, ...] = ()

    @property
    def filters(self) -> Filters:
        """The chosen filters."""
        return Filters(
            all=self.present,
            none=self.absent,
            view=self.view,
            dataset=self.dataset,
            sides=(self.side,) if self.side else (),
            severities=(self.severity,) if self.severity else (),
        )

    @property
    def has_query(self) -> bool:
        """Whether there is anything to search for, apart from an uploaded image."""
        return bool(self.text or self.study or self.like)

    def query(self, image: bytes | None = None) -> Query:
        """The query of the form and of the uploaded image, if there is one."""
        return Query(
            text=self.text or None,
            image=image,
            study=Case(study_id=self.study) if self.study else None,
            like=tuple(Case(study_id=study_id) for study_id in self.like),
            unlike=tuple(Case(study_id=study_id) for study_id in self.unlike),
            filters=self.filters,
            interpret=not self.literal,
            match=self.match if self.text else "dense",
            rerank=self.rerank,
            collapse=self.collapse,
            k=self.k,
        )

    def require_valid(self) -> None:
        """Refuse a form with errors.

        Raises:
            InvalidRequest: naming the fields.
        """
        if self.errors:
            raise InvalidRequest("; ".join(self.errors))

    def link_to_similar(self, study_id: str) -> str:
        """Address of the cases similar to a study, under the same filters."""
        return replace(self, text="", study=study_id, like=(), unlike=()).link()

    def link_rated(self, study_id: str, *, relevant: bool) -> str:
        """Address of the same search with a study rated as relevant or not relevant."""
        unrated = self._without_rating(study_id)
        if relevant:
            return replace(unrated, like=(*unrated.like, study_id)).link()
        return replace(unrated, unlike=(*unrated.unlike, study_id)).link()

    def link_unrated(self, study_id: str) -> str:
        """Address of the same search without the rating of a study."""
        return self._without_rating(study_id).link()

    def link_literal(self) -> str:
        """Address of the same search, with negated findings in the text not used as filters."""
        return replace(self, literal="yes").link()

    def link_without_query(self) -> str:
        """Address of the form with its filters and no query."""
        return replace(self, text="", study="", like=(), unlike=()).link()

    def link(self) -> str:
        """Address of this form, without fields that have their default value."""
        pairs: list[tuple[str, str]] = []
        for field in _FIELDS:
            value = getattr(self, field.name)
            if isinstance(value, tuple):
                pairs += [(field.encode_name, each) for each in value]
            elif value and value != field.default:
                pairs.append((field.encode_name, str(value)))
        return "/?" + urlencode(pairs) if pairs else "/"

    def _without_rating(self, study_id: str) -> PageForm:
        like, unlike = (tuple(each for each in rated if each != study_id) for rated in (self.like, self.unlike))
        return replace(self, like=like, unlike=unlike)


_FIELDS = tuple(field for field in msgspec.structs.fields(PageForm) if field.name != "errors")


def read_page_form(fields: Iterable[tuple[str, Any]]) -> PageForm:
    """The form from its fields. Empty and unknown fields are ignored, since browsers send them, too."""
    texts: dict[str, list[str]] = {}
    for name, value in fields:
        if isinstance(value, str) and value.strip():
            texts.setdefault(name, []).append(value.strip())
    values: dict[str, Any] = {}
    errors = []
    for field in _FIELDS:
        given = texts.get(field.encode_name)
        if given is None:
            continue
        value = list(dict.fromkeys(given)) if field.default == () else given[-1]
        try:
            values[field.name] = msgspec.convert(value, field.type, strict=field.name != "k")  # `k` is a number in text
        except msgspec.ValidationError as error:
            errors.append(f"{field.encode_name}: {add_choices(str(error), field.encode_name, CHOICES)}")
    if len(values.get("text", "")) > LIMIT_TEXT:
        errors.append(f"text: at most {LIMIT_TEXT:,} characters")
        values["text"] = values["text"][:LIMIT_TEXT]
    for name in ("like", "unlike"):
        if len(values.get(name, ())) > LIMIT_EXAMPLES:
            errors.append(f"{name}: at most {LIMIT_EXAMPLES} studies; remove one")
            values[name] = values[name][:LIMIT_EXAMPLES]
    return PageForm(**values, errors=tuple(errors))
