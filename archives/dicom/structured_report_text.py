"""Reads the text of a DICOM structured report, by section."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from archives.report_sections import split_report
from retrieval.imaging.dicom.header import items_of, text_of
from retrieval.records import Report

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_SECTIONS = ("findings", "impression", "indication", "comparison")
# Headings without a section: known ones, unknown ones, and those about patient and observers.
_OTHER = "other"
_UNKNOWN = "unknown"
_PERSON = "person"
# This section becomes part of the impression.
_ADDENDUM = "addendum"

_ADDENDUM_CODE = "55107-7"
# Headings and elements of a diagnostic imaging report: CID 7001 and 7002 of PS3.16, in DCM and LOINC.
_CODES = {
    "121070": "findings",
    "121071": "findings",
    "59776-5": "findings",
    "121072": "impression",
    "121073": "impression",
    "19005-8": "impression",
    "121076": "impression",  # conclusions
    "121077": "impression",
    "55110-1": "impression",
    _ADDENDUM_CODE: _ADDENDUM,
    "121111": "impression",  # summary
    "55112-7": "impression",
    "121060": "indication",  # history
    "11329-0": "indication",
    "121062": "indication",  # request
    "55115-0": "indication",
    "121109": "indication",
    "18785-6": "indication",
    "121110": "indication",  # patient presentation
    "55108-5": "indication",
    "55752-0": "indication",  # clinical information
    "121068": "comparison",  # previous findings
    "121069": "comparison",
    "18834-2": "comparison",
    "121066": "comparison",  # prior procedures
    "55114-3": "comparison",
}
# Words of headings, without accents, in English, German, Spanish, French, Italian, Portuguese and Dutch. The order matters:
# the heading of an addendum may name the prior report, and `Previous Findings` belong to the comparison.
_WORDS = (
    (_ADDENDUM, r"addend adenda amend \w*nachtrag erganzung aanvulling"),
    ("comparison", r"\w*comparison previous prior\b vergleich voraufnahme comparac comparaison confronto vergelijk"),
    (
        "impression",
        r"\w*impression impres[is] conclus konklusion beurteilung zusammenfassung bewertung synthese opinion",
    ),
    (
        "findings",
        r"\w*finding \w*befund interpretation observations?\b(?!.(?:context|date|uid)) results?\b resulta[td] hallazgo "
        "constatation repert[io] referto achado bevinding",
    ),
    (
        "indication",
        r"\w*indica[tcz] indikation history histori reason.for clinical.information fragestellung anamnes klinische motivo "
        "motif antecedent quesito vraagstelling datos.clinicos renseignements.cliniques",
    ),
    ("impression", "diagnos[ei] diagnostico"),
)
# Titles of addenda; an "amended" report replaces the original and is no addendum.
_ADDENDA = re.compile(r"\b(?:addend|adenda|\w*nachtrag|erganzung|aanvulling)")
_PATTERNS = [(section, re.compile(rf"\b(?:{'|'.join(words.split())})")) for section, words in _WORDS]
# Known headings without findings.
_WITHOUT_FINDINGS = re.compile(
    r"\b(?:recommend|procedure|technique|protocol|key image|image librar|radiation|dose|quality|contrast|empfehlung|technik"
    r"|recomend|raccomand|recommand|tecnica|techniek)"
)
# Patient and observers (PS3.16 TID 1001), which some vendors put into the content.
_PERSONAL = re.compile(
    r"\b(?:patient\w*|subject|\w*name[ns]?|nombre|apellidos?|nom|prenom|cognome|nome|birth\w*|dob|geburt\w*|nacimiento"
    r"|naissance|nascita|nascimento|geboorte\w*|age|alter|edad|eta|sex|gender|geschlecht|sexo|sexe|sesso|mrn|id|identifier"
    r"|accession|physician|doctor|dr|arzt|arztin|medico|medecin|radiologist|radiolog[aeo]|radiologue|observer|reader|author"
    r"|autor|auteur|verif(?:ied by|ier|ying)\w*|sign(?:ed|ature)\w*|unterschrift|firma\w*|institution|hospital|klinik"
    r"|address|adresse|phone|telefon\w*|insurance|person|date|datum|fecha)\b"
)
_PERSONAL_CODES = re.compile(r"1210(?:0[5-9]|[1-3][0-9]|4[0-9])")
# Headings that name no section; text under them is treated like text without a heading.
_GENERIC_WORDS = frozenset(
    {"diagnostic", "document", "heading", "imaging", "radiology", "report", "section", "text", "title"}
)

_LIMIT_DEPTH = 32


@dataclass(frozen=True, slots=True)
class StructuredText:
    """The text of a structured report: whether it is an addendum, and whether some text stands under an unknown heading."""

    report: Report
    is_addendum: bool = False
    has_unknown_headings: bool = False


def read_structured_report(content: Iterable[Dataset], title: Sequence[Dataset] = ()) -> StructuredText:
    """The text items of a ContentSequence (PS3.3 C.17.3) by section.

    The section comes from the concept name of the item, else from the container around it. Text without a heading, or
    under an unknown heading, is findings, unless it contains headings itself. An addendum becomes part of the impression;
    `title` (ConceptNameCodeSequence of the document) tells whether the whole document is an addendum. Left out: text under
    known headings without findings (recommendations, procedure), and items on patient and observers (PS3.16 TID 1001).
    """
    is_addendum = any(text_of(name, "CodeValue") == _ADDENDUM_CODE or _ADDENDA.search(_meaning(name)) for name in title)
    texts: dict[str, list[str]] = {section: [] for section in (*_SECTIONS, _ADDENDUM)}
    unknown = _collect(content, _ADDENDUM if is_addendum else None, texts, 0)
    texts["impression"] += texts.pop(_ADDENDUM)
    report = split_report(Report(**{section: "\n".join(found) for section, found in texts.items()}))
    joined = Report(**{section: " ".join(text.split()) for section, text in asdict(report).items()})
    return StructuredText(joined, is_addendum, unknown)


def _collect(content: Iterable[Dataset], parent: str | None, texts: dict[str, list[str]], depth: int) -> bool:
    """Add the text of `content` to `texts`; gives whether some text stands under an unknown heading."""
    has_unknown = False
    for item in content:
        if text_of(item, "RelationshipType").upper() not in ("CONTAINS", ""):
            continue
        own = _section_of(item)
        if own == _PERSON:
            continue
        is_added = parent == _ADDENDUM and own in ("findings", "impression")
        inherits = own is None or is_added or (own == _OTHER and parent in texts) or (own == _UNKNOWN and parent)
        section = parent if inherits else own
        kind = text_of(item, "ValueType").upper()
        if kind == "TEXT" and section != _OTHER:
            text = text_of(item, "TextValue")
            has_unknown = has_unknown or (bool(text) and section == _UNKNOWN)
            texts[section if section in texts else "findings"].append(text)
        elif kind == "CONTAINER" and depth < _LIMIT_DEPTH:
            has_unknown = _collect(items_of(item, "ContentSequence"), section, texts, depth + 1) or has_unknown
    return has_unknown


def _section_of(item: Dataset) -> str | None:
    """The section of an item by its concept name: a section, `_OTHER`, `_UNKNOWN` or `_PERSON`; None without a name."""
    names = items_of(item, "ConceptNameCodeSequence")
    if not names:
        return None
    code = text_of(names[0], "CodeValue")
    if section := _CODES.get(code):
        return section
    meaning = _meaning(names[0])
    if set(meaning.split()) <= _GENERIC_WORDS:
        return None
    if _PERSONAL_CODES.fullmatch(code):
        return _PERSON
    if section := next((section for section, words in _PATTERNS if words.search(meaning)), None):
        return section
    if _PERSONAL.search(meaning):
        return _PERSON
    return _OTHER if _WITHOUT_FINDINGS.search(meaning) else _UNKNOWN


def _meaning(name: Dataset) -> str:
    """The CodeMeaning in lower case, without accents."""
    text = unicodedata.normalize("NFKD", text_of(name, "CodeMeaning").lower())
    return "".join(letter for letter in text if not unicodedata.combining(letter))
