"""Feedback in links: the page has no script, so the URL of a hit's link carries the click or rating."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args
from urllib.parse import urlencode

import msgspec

from retrieval.search.hits import Hit
from service.api.schemas import Feedback
from service.experiments.entities import FeedbackKind, ShownResult

# Names in an address, and the fields of `Feedback`. None is a field of the form, so the next page's links drop them.
_NAMES = {
    "said": "kind",
    "said_of": "search_id",
    "said_study": "study_id",
    "said_image": "image_id",
    "said_dataset": "dataset",
}


def feedback_parameters(result: ShownResult, hit: Hit, kind: FeedbackKind) -> str:
    """The URL parameters that give feedback on `hit`; empty if the search takes no feedback."""
    if result.search_id is None:
        return ""
    values = {
        "kind": kind,
        "search_id": result.search_id,
        "study_id": hit.study_id,
        "image_id": hit.image_id,
        "dataset": hit.dataset,
    }
    return "&" + urlencode({name: values[field] for name, field in _NAMES.items()})


def parse_feedback(parameters: Mapping[str, str]) -> Feedback | None:
    """The feedback in the parameters of a URL; None if there is none, or if it is malformed."""
    if parameters.get("said") not in get_args(FeedbackKind):
        return None
    values = {field: parameters[name] for name, field in _NAMES.items() if name in parameters}
    try:
        return msgspec.convert(values, Feedback)
    except msgspec.ValidationError:
        return None
