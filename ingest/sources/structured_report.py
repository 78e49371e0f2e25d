"""The text of a DICOM Structured Report, by section."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING

from ingest.sources.sections import split_report
from retrieval.imaging.dicom_header import items_of, text_of
from retrieval.records import Report

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_SECTIONS = ("findings", "impression", "indication", "comparison")
_OTHER = "other"

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
# In this order: `Previous Findings` are no findings of today.
_WORDS = (
    ("comparison", ("comparison", "previous", "prior")),
    ("impression", ("impression", "conclusion")),
    ("findings", ("finding",)),
    ("indication", ("indication", "history", "reason for", "clinical information")),
)
# Headings that name no section; what stands under them is as good as unnamed.
_EMPTY_WORDS = frozenset(
    {"diagnostic", "document", "heading", "imaging", "radiology", "report", "section", "text", "title"}
)

_LIMIT_DEPTH = 32


def read_structured_report(content: Iterable[Dataset]) -> Report:
    """The text content items of ContentSequence (PS3.3 C.17.3), each under the section it or a container around it names.

    Text that nothing names is findings, unless headings in it say otherwise. Text under other headings (recommendations,
    procedure) is left out, and so is all that is not contained content: the context of observation names patient and
    observers (PS3.16 TID 1001).
    """
    texts: dict[str, list[str]] = {section: [] for section in _SECTIONS}
    _collect(content, None, texts, 0)
    report = split_report(Report(**{section: "\n".join(found) for section, found in texts.items()}))
    return Report(**{section: " ".join(text.split()) for section, text in asdict(report).items()})


def _collect(content: Iterable[Dataset], around: str | None, texts: dict[str, list[str]], depth: int) -> None:
    for item in content:
        if text_of(item, "RelationshipType").upper() not in ("CONTAINS", ""):
            continue
        own = _section_of(item)
        section = around if own is None or (own == _OTHER and around in _SECTIONS) else own
        kind = text_of(item, "ValueType").upper()
        if kind == "TEXT" and section != _OTHER:
            texts[section or "findings"].append(text_of(item, "TextValue"))
        elif kind == "CONTAINER" and depth < _LIMIT_DEPTH:
            _collect(items_of(item, "ContentSequence"), section, texts, depth + 1)


def _section_of(item: Dataset) -> str | None:
    """The section that an item's concept name means; None for no name, `other` for one that means none."""
    names = items_of(item, "ConceptNameCodeSequence")
    if not names:
        return None
    if section := _CODES.get(text_of(names[0], "CodeValue")):
        return section
    meaning = text_of(names[0], "CodeMeaning").lower()
    if set(meaning.split()) <= _EMPTY_WORDS:
        return None
    return next((section for section, words in _WORDS if any(word in meaning for word in words)), _OTHER)
