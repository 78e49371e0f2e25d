"""The fields of the page's form, as an address or a multipart body carries them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args
from urllib.parse import urlencode

from retrieval.errors import InvalidRequest
from retrieval.index.filters import Filters
from retrieval.records import View
from service.schemas import K_LIMIT, TEXT_LIMIT

Rerank = Literal["signals", "none"]
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
    model: str | None = None
    k: int = K_DEFAULT
    rerank: Rerank = "signals"
    refused: tuple[str, ...] = ()

    @property
    def filters(self) -> Filters:
        """The filters chosen."""
        return Filters(all=self.present, none=self.absent, view=self.view)

    def require_valid(self) -> None:
        """Raise what was refused.

        Raises:
            InvalidRequest: naming the fields.
        """
        if self.refused:
            raise InvalidRequest("; ".join(self.refused))

    def link_to_similar(self, study_id: str) -> str:
        """Address of the cases like a study, under the same filters."""
        return "/?" + urlencode([("study", study_id), *self._shared()])

    def link_without_query(self) -> str:
        """Address of the form with its filters and no query."""
        shared = self._shared()
        return "/?" + urlencode(shared) if shared else "/"

    def _shared(self) -> list[tuple[str, str]]:
        pairs = [("with", finding) for finding in self.present] + [("without", finding) for finding in self.absent]
        if self.view:
            pairs.append(("view", self.view))
        if self.model:
            pairs.append(("model", self.model))
        if self.k != K_DEFAULT:
            pairs.append(("k", str(self.k)))
        if self.rerank != "signals":
            pairs.append(("rerank", self.rerank))
        return pairs


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

    k = K_DEFAULT
    if last("k"):
        if len(last("k")) <= 3 and last("k").isascii() and last("k").isdigit() and 1 <= int(last("k")) <= K_LIMIT:
            k = int(last("k"))
        else:
            refused.append(f"k must be a whole number from 1 to {K_LIMIT}")
    if len(last("text")) > TEXT_LIMIT:
        refused.append(f"text may have at most {TEXT_LIMIT:,} characters")
    return PageForm(
        text=last("text")[:TEXT_LIMIT],
        study=last("study"),
        present=tuple(dict.fromkeys(values.get("with", ()))),
        absent=tuple(dict.fromkeys(values.get("without", ()))),
        view=choice("view", get_args(View)),
        model=last("model") or None,
        k=k,
        rerank=choice("rerank", get_args(Rerank)) or "signals",
        refused=tuple(refused),
    )
