"""The view of a radiograph, from the words and codes of its DICOM header."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ingest.sources.views import read_view
from retrieval.records import View

# CID 4010 of PS3.16, in SNOMED CT, and in the SNOMED RT of older files.
_CODES: dict[str, View] = {
    "399033003": "frontal",
    "399348003": "frontal",  # antero-posterior
    "R-10206": "frontal",
    "272479007": "frontal",  # postero-anterior
    "R-10214": "frontal",
    "399067008": "lateral",
    "399173006": "lateral",  # left lateral
    "R-10236": "lateral",
    "399198007": "lateral",  # right lateral
    "R-10232": "lateral",
}
_SPELLINGS = (
    (re.compile(r"\b([ap])\.\s?([ap])\b"), r"\1\2"),  # `a.p.` is `ap`
    (re.compile(r"postero[\s_-]*anterior"), "pa"),
    (re.compile(r"antero[\s_-]*posterior"), "ap"),
    # Of a patient who lies on one side the image is taken from front or back; the side is no view.
    (re.compile(r"(lateral|lat|left|right)?[\s_.-]*(decubitus|decub)"), " "),
)
# Neither frontal nor lateral, whatever stands beside it.
_OTHER = re.compile(r"\b(oblique|obl|lao|rao|lpo|rpo|llo|rlo)\b")


def view_of_header(position: str, codes: Iterable[tuple[str, str]], descriptions: Iterable[str]) -> View:
    """The view by ViewPosition, else by the (value, meaning) of ViewCodeSequence, else by words of the descriptions."""
    found = [
        view_of_words(position),
        *(_CODES.get(value) or view_of_words(meaning) for value, meaning in codes),
        *map(view_of_words, descriptions),
    ]
    return next((view for view in found if view != "unknown"), "unknown")


def view_of_words(text: str) -> View:
    """The view that words in a header name.

    `PA and lateral` names a pair and not which of it this is. `Portable` says how the machine came to the patient; that
    nearly all such images are AP, it does not say.
    """
    text = text.lower().replace("_", " ")
    for spelling, plain in _SPELLINGS:
        text = spelling.sub(plain, text)
    return "unknown" if _OTHER.search(text) else read_view(text)
