"""The fields of the page's form, as an address or a multipart body carries them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, get_args
from urllib.parse import urlencode

from retrieval.errors import InvalidRequest
from retrieval.index.filters import Filters
from retrieval.labels.laterality import SIDES, Side
from retrieval.records import View
from retrieval.search.query import LIMIT_EXAMPLES, LIMIT_K, LIMIT_TEXT, Case, Query
from retrieval.search.rerank import Collapse, Match, Preset

K_DEFAULT = 12
"""Fills the page's rows of three and four cards."""


@dataclass(frozen=True, slots=True)
class PageForm:
    """What the user has filled in. `refused` says what cannot be used; the form is shown all the same."""

    text: str = ""
    study: str = ""
    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    view: View | None = None
    dataset: str | None = None
    model: str | None = None
    k: int = K_DEFAULT
    rerank: Preset = "signals"
    match: Match = "dense"
    collapse: Collapse = "none"
    side: Side | None = None
    severity: str | None = None
    like: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()
    literal: bool = False
    refused: tuple[str, ...] = ()

    @property
    def filters(self) -> Filters:
        """The filters chosen."""
        return Filters(
            all=self.present,
            none=self.absent,
            view=self.view,
            dataset=self.dataset,
            sides=(self.side,) if self.side else (),
            severities=(self.severity,) if self.severity else (),
        )

    @property
    def looks(self) -> bool:
        """Whether there is anything to look for."""
        return bool(self.text or self.study or self.like)

    def query(self, image: bytes | None = None) -> Query:
        """The query that the form describes, with an uploaded image if there is one."""
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
        """Raise what was refused.

        Raises:
            InvalidRequest: naming the fields.
        """
        if self.refused:
            raise InvalidRequest("; ".join(self.refused))

    def link_to_similar(self, study_id: str) -> str:
        """Address of the cases like a study, under the same filters."""
        return replace(self, text="", study=study_id, like=(), unlike=()).link()

    def link_judged(self, study_id: str, *, fits: bool) -> str:
        """Address of the same search with a study among those that hits shall be like, or unlike."""
        like = tuple(each for each in self.like if each != study_id)
        unlike = tuple(each for each in self.unlike if each != study_id)
        if fits:
            return replace(self, like=(*like, study_id), unlike=unlike).link()
        return replace(self, like=like, unlike=(*unlike, study_id)).link()

    def link_unjudged(self, study_id: str) -> str:
        """Address of the same search without a judgement of the study."""
        like = tuple(each for each in self.like if each != study_id)
        return replace(self, like=like, unlike=tuple(each for each in self.unlike if each != study_id)).link()

    def link_literal(self) -> str:
        """Address of the same search with what the text denies left alone."""
        return replace(self, literal=True).link()

    def link_without_query(self) -> str:
        """Address of the form with its filters and no query."""
        return replace(self, text="", study="", like=(), unlike=()).link()

    def link(self) -> str:
        """Address of this form; what is as it is by default is left out."""
        pairs: list[tuple[str, str]] = []
        for name, field in FIELDS.items():
            value = getattr(self, field)
            if isinstance(value, tuple):
                pairs += [(name, each) for each in value]
            elif value is True:
                pairs.append((name, "yes"))
            elif value and value != getattr(_BLANK, field):
                pairs.append((name, str(value)))
        return "/?" + urlencode(pairs) if pairs else "/"


FIELDS = {
    "text": "text",
    "study": "study",
    "like": "like",
    "unlike": "unlike",
    "with": "present",
    "without": "absent",
    "view": "view",
    "side": "side",
    "severity": "severity",
    "dataset": "dataset",
    "model": "model",
    "k": "k",
    "rerank": "rerank",
    "match": "match",
    "collapse": "collapse",
    "literal": "literal",
}
"""Fields of the form by their names in an address."""

_BLANK = PageForm()


def read_form(fields: Iterable[tuple[str, Any]]) -> PageForm:
    """The form from its fields; empty and unknown ones are ignored, as browsers send them."""
    values: dict[str, list[str]] = {}
    for name, value in fields:
        if isinstance(value, str) and value.strip():
            values.setdefault(name, []).append(value.strip())
    refused = []

    def last(name: str) -> str:
        return values.get(name, [""])[-1]

    def choice(name: str, allowed: tuple[str, ...]) -> Any:
        if last(name) and last(name) not in allowed:
            refused.append(f"{name} must be one of {', '.join(allowed)}")
            return None
        return last(name) or None

    def judged(name: str) -> tuple[str, ...]:
        studies = tuple(dict.fromkeys(values.get(name, ())))
        if len(studies) > LIMIT_EXAMPLES:
            refused.append(f"{name} takes at most {LIMIT_EXAMPLES} studies; take one of them back")
        return studies[:LIMIT_EXAMPLES]

    k = K_DEFAULT
    if last("k"):
        if len(last("k")) <= 3 and last("k").isascii() and last("k").isdigit() and 1 <= int(last("k")) <= LIMIT_K:
            k = int(last("k"))
        else:
            refused.append(f"k must be a whole number from 1 to {LIMIT_K}")
    if len(last("text")) > LIMIT_TEXT:
        refused.append(f"text may have at most {LIMIT_TEXT:,} characters")
    return PageForm(
        text=last("text")[:LIMIT_TEXT],
        study=last("study"),
        present=tuple(dict.fromkeys(values.get("with", ()))),
        absent=tuple(dict.fromkeys(values.get("without", ()))),
        view=choice("view", get_args(View)),
        dataset=last("dataset")[:200] or None,
        model=last("model") or None,
        k=k,
        rerank=choice("rerank", get_args(Preset)) or "signals",
        match=choice("match", get_args(Match)) or "dense",
        collapse=choice("collapse", get_args(Collapse)) or "none",
        side=choice("side", SIDES),
        severity=last("severity")[:100] or None,
        like=judged("like"),
        unlike=judged("unlike"),
        literal=bool(last("literal")),
        refused=tuple(refused),
    )
