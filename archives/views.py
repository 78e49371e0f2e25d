"""Reads the view of an image from table cells, DICOM headers and file names; `unknown` if it is not certain."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Literal

from retrieval.records import View

Named = Literal["frontal", "lateral", "other"]

_WORDS: dict[str, Named] = {
    "ap": "frontal",
    "pa": "frontal",
    "lat": "lateral",
    "llat": "lateral",
    "rlat": "lateral",
    "leftlateral": "lateral",
    "rightlateral": "lateral",
    "seitl": "lateral",
    "perfil": "lateral",
    "lld": "other",
    "rld": "other",
    **dict.fromkeys(("obl", "lao", "rao", "lpo", "rpo", "llo", "rlo"), "other"),
}
# Word beginnings, also in German, Spanish, French and Italian: `seitlich`, `oblicua`, `Schrägaufnahme`.
_BEGINNINGS: tuple[tuple[str, Named], ...] = (
    ("frontal", "frontal"),
    ("lateral", "lateral"),
    ("laterolateral", "lateral"),
    ("seitlich", "lateral"),
    ("seitaufnahme", "lateral"),
    ("obli", "other"),
    ("schrag", "other"),
    ("schraeg", "other"),
)
# Clear in a view column or header, but ambiguous in a file name.
_NOT_IN_NAMES: dict[str, Named] = {
    "ll": "lateral",
    "rl": "lateral",
    "profil": "lateral",
    "profile": "lateral",
    "face": "frontal",
    "frente": "frontal",
}

_GAP = r"[\s._/-]*"
_SPELLINGS = (
    (re.compile(rf"\bposter(?:o|io|ior){_GAP}anteri\w+|\bdorso{_GAP}ventral\w*"), " pa "),
    (re.compile(rf"\banter(?:o|io|ior){_GAP}posteri\w+|\bventro{_GAP}dorsal\w*"), " ap "),
    (re.compile(rf"\blatero{_GAP}lateral\w*"), " lateral "),
    (re.compile(rf"\ba{_GAP}p\b"), "ap"),
    (re.compile(rf"\bp{_GAP}a\b"), "pa"),
    (re.compile(rf"\b([lr]){_GAP}l\b"), r"\1l"),
    (re.compile(rf"\b([lr]){_GAP}l{_GAP}d\b"), r"\1ld"),
    # Spanish for supine and prone: the position of the patient, not the view.
    (re.compile(rf"\bdecubito{_GAP}(?:supino|prono)\b"), " "),
    # Lateral decubitus: the patient lies on one side, and the image is taken from front or back.
    (
        re.compile(
            rf"(?:\b(?:left|right|lt|rt|links|rechts|lateral\w*|lat|l|r|ll|rl){_GAP})*(?:\bdecub\w*|\b\w*seitenlage)"
            rf"(?:{_GAP}(?:left|right|lateral\w*|lat|izquierdo|derecho|gauche|droit)\b)*"
        ),
        " oblique ",
    ),
)

# CID 4010 of PS3.16: SNOMED CT codes, and SNOMED RT codes of older files.
_CODES: dict[str, Named] = {
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


def read_view(text: str) -> View:
    """The view in a table cell or header, in any case and with any separators.

    `unknown` if it names no view, both views (`PA and lateral` is a pair of images), or an oblique or decubitus view.
    """
    return _view_of(_named(text))


def view_of_header(position: str, codes: Iterable[tuple[str, str]], descriptions: Iterable[str]) -> View:
    """The view from ViewPosition, else from ViewCodeSequence (value, meaning), else from the descriptions.

    If a code or description names an oblique or decubitus view only, it overrides ViewPosition, which may be that of the
    beam (`AP`).
    """
    found = [
        _named(position),
        *(frozenset({_CODES[value]}) if value in _CODES else _named(meaning) for value, meaning in codes),
        *map(_named, descriptions),
    ]
    if frozenset({"other"}) in found:
        return "unknown"
    return next((view for view in map(_view_of, found) if view != "unknown"), "unknown")


def view_of_name(name: str) -> View:
    """The view in the name of a file (a path with `/`), else in the name of its folder."""
    path = PurePosixPath(name)
    return _view_of(_named(path.stem, in_name=True) or _named(path.parent.name, in_name=True))


@lru_cache(1024)  # a column has few different values
def _named(text: str, *, in_name: bool = False) -> frozenset[Named]:
    """The views that `text` names. `PA oblique` is only `other`."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter)).replace("_", " ")
    for spelling, word in _SPELLINGS:
        plain = spelling.sub(word, plain)
    words = re.findall(r"[^\W_]+", plain)
    if words == ["l"] and not in_name:  # PadChest's lateral; in a longer text it means left
        return frozenset({"lateral"})
    views = frozenset(view for view in (_view_of_word(word, in_name) for word in words) if view)
    return frozenset({"other"}) if "other" in views and len(views) == 2 else views


def _view_of_word(word: str, in_name: bool) -> Named | None:
    if word in _NOT_IN_NAMES:
        return None if in_name else _NOT_IN_NAMES[word]
    return _WORDS.get(word) or next((view for start, view in _BEGINNINGS if word.startswith(start)), None)


def _view_of(views: frozenset[Named]) -> View:
    if views == {"frontal"}:
        return "frontal"
    return "lateral" if views == {"lateral"} else "unknown"
