"""What following a link from a hit says of that hit. The page has no script: the next address carries it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args
from urllib.parse import urlencode

import msgspec

from retrieval.search.hits import Hit
from service.api.schemas import Feedback
from service.experiments.entities import FeedbackKind, ShownResult

# Names in an address; none is a field of the form, so that the next page's links do not say it again.
_NAMES = {
    "said": "kind",
    "said_of": "search_id",
    "said_study": "study_id",
    "said_image": "image_id",
    "said_dataset": "dataset",
}


def say_of_hit(result: ShownResult, hit: Hit, kind: FeedbackKind) -> str:
    """What to add to the address of a link from `hit`; empty if the search takes no feedback."""
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


def said_by(fields: Mapping[str, str]) -> Feedback | None:
    """The feedback that an address carries, if it does and it is well-formed."""
    if fields.get("said") not in get_args(FeedbackKind):
        return None
    values = {field: fields[name] for name, field in _NAMES.items() if name in fields}
    try:
        return msgspec.convert(values, Feedback)
    except msgspec.ValidationError:
        return None
