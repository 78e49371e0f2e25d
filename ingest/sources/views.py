"""The view of an image, from what people call it. What says nothing for certain is `unknown`."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from retrieval.records import View

_WORDS: dict[str, View] = {
    "frontal": "frontal",
    "pa": "frontal",
    "ap": "frontal",
    "lateral": "lateral",
    "lat": "lateral",
}
# Left and right lateral: clear in a column of views, and anything in a file's name.
_SHORT_WORDS: dict[str, View] = {"ll": "lateral", "rl": "lateral"}


def read_view(text: str) -> View:
    """The view that `text` names as a whole word, in any case; `unknown` for none, and for both (`PA and lateral`)."""
    return _one_of(_views_in(text, _WORDS | _SHORT_WORDS))


def view_of_name(name: str) -> View:
    """The view that the file `name`, a path with `/`, says in its own name, or else in that of the folder it is in."""
    path = PurePosixPath(name)
    return _one_of(_views_in(path.stem, _WORDS) or _views_in(path.parent.name, _WORDS))


def _views_in(text: str, words: dict[str, View]) -> set[View]:
    return {words[word] for word in re.findall(r"[a-z0-9]+", text.lower()) if word in words}


def _one_of(views: set[View]) -> View:
    return next(iter(views)) if len(views) == 1 else "unknown"
