"""Findings: from MeSH and Problems terms to labels, and from the words of a query to the findings it asks for or denies.

Two vocabularies stand side by side in `present` and `uncertain`: the heads of the Indiana (Open-i) indexing, and the
fourteen observations of CheXpert (Irvin et al., AAAI 2019), which other chest X-ray data sets share.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from retrieval.errors import UnknownFinding

CHEXPERT_14 = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)

NORMAL = "normal"

# Neither says anything about findings: the study was not indexed, or could not be judged.
_UNLABELLED = {"No Indexing", "Technical Quality of Image Unsatisfactory"}

_CHEXPERT_OF_HEAD = {
    "Cardiomegaly": "Cardiomegaly",
    "Opacity": "Lung Opacity",
    "Infiltrate": "Lung Opacity",
    "Airspace Disease": "Lung Opacity",
    "Nodule": "Lung Lesion",
    "Mass": "Lung Lesion",
    "Pulmonary Edema": "Edema",
    "Consolidation": "Consolidation",
    "Pneumonia": "Pneumonia",
    "Pulmonary Atelectasis": "Atelectasis",
    "Pneumothorax": "Pneumothorax",
    "Pleural Effusion": "Pleural Effusion",
    "Fractures, Bone": "Fracture",
    "Catheters, Indwelling": "Support Devices",
    "Tube, Inserted": "Support Devices",
    "Implanted Medical Device": "Support Devices",
    "Medical Device": "Support Devices",
    "Stents": "Support Devices",
    "Surgical Instruments": "Support Devices",
}
# Heads that name a structure, and become a finding only with this qualifier.
_CHEXPERT_OF_QUALIFIED = {
    ("Thickening", "pleura"): "Pleural Other",
    ("Mediastinum", "enlarged"): "Enlarged Cardiomediastinum",
}
_UNCERTAIN_QUALIFIERS = {"borderline"}
_SMALL_WORDS = {"of", "and", "the"}


@dataclass(frozen=True, slots=True)
class Labels:
    """What the indexing says of one study; every tuple is free of duplicates and in the order of the source.

    `mesh` holds each term with its ancestors (`Opacity`, `Opacity/lung`, `Opacity/lung/base`); `problems` the heads.
    """

    present: tuple[str, ...] = ()
    uncertain: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    mesh: tuple[str, ...] = ()


def read_labels(mesh: str, problems: str) -> Labels:
    """Labels of a study from its MeSH and Problems fields, as Open-i writes them (`Opacity/lung/base/left;Nodule`).

    A term with the qualifier `borderline` makes an uncertain finding. `normal` counts only if it stands alone.
    `No Indexing` and unsatisfactory quality leave the study unlabelled instead of normal.
    """
    terms = [[clean_head(part) if n == 0 else part for n, part in enumerate(term)] for term in _split(mesh)]
    heads = [term[0] for term in terms]
    problem_heads = [clean_head(term[0]) for term in _split(problems)]
    # Problems repeat the heads without qualifiers; only a head that MeSH does not have adds anything.
    every = terms + [[head] for head in problem_heads if head not in heads]

    present: list[str] = []
    uncertain: list[str] = []
    for head, *qualifiers in every:
        if head in _UNLABELLED or head == NORMAL:
            continue
        found = [head, *_chexpert(head, qualifiers)]
        (uncertain if _UNCERTAIN_QUALIFIERS & set(qualifiers) else present).extend(found)
    if every and all(head == NORMAL for head, *_ in every):
        present = [NORMAL, "No Finding"]
    return Labels(
        present=_unique(present),
        uncertain=_unique(name for name in uncertain if name not in present),
        problems=_unique(problem_heads or heads),
        mesh=_unique("/".join(term[: depth + 1]) for term in terms for depth in range(len(term))),
    )


def clean_head(head: str) -> str:
    """A head with white space folded and words capitalised as MeSH does, so that `Lymph nodes` is `Lymph Nodes`."""
    words = head.split()
    if len(words) == 1 and words[0].lower() == NORMAL:
        return NORMAL
    return " ".join(word if word in _SMALL_WORDS else word[:1].upper() + word[1:] for word in words)


def resolve_finding(name: str, known: Callable[[], Iterable[str]]) -> str:
    """The spelling of finding `name`, whatever case it is written in, among both vocabularies and what `known` gives.

    `known` is called only for a name that neither vocabulary has: it asks a collection, which costs a request.

    Raises:
        UnknownFinding: no such finding; the message suggests the nearest names.
    """
    wanted = " ".join(name.split()).lower()
    if wanted in _SPELLINGS:
        return _SPELLINGS[wanted]
    spellings = _SPELLINGS | {finding.lower(): finding for finding in known()}
    if wanted in spellings:
        return spellings[wanted]
    near = difflib.get_close_matches(wanted, spellings, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(repr(spellings[match]) for match in near)}?" if near else "see the facets"
    raise UnknownFinding(f"no finding {name!r} in either vocabulary or in this collection; {hint}")


@dataclass(frozen=True, slots=True)
class Mentions:
    """Findings (Indiana heads) that a query names, and those it denies."""

    asked: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()


# Words for a head, longest first where one contains another. A query has no report's variety: names and common synonyms.
_WORDS_OF_HEAD = {
    "Cardiomegaly": r"cardiomegaly|enlarged (?:heart|cardiac silhouette)|(?:heart|cardiac) enlargement",
    "Pericardial Effusion": r"pericardial effusions?",
    "Pleural Effusion": r"(?:pleural )?effusions?|pleural fluid",
    "Pneumothorax": r"pneumothora(?:x|ces)",
    "Nodule": r"nodules?",
    "Mass": r"mass(?:es)?",
    "Consolidation": r"consolidations?",
    "Airspace Disease": r"airspace disease",
    "Infiltrate": r"infiltrates?",
    "Opacity": r"opacit(?:y|ies)",
    "Pulmonary Atelectasis": r"atelectas[ie]s",
    "Pulmonary Edema": r"(?:pulmonary )?o?edema",
    "Pneumonia": r"pneumonia",
    "Pulmonary Fibrosis": r"(?:pulmonary )?fibrosis",
    "Emphysema": r"emphysema",
    "Calcified Granuloma": r"calcified granulomas?",
    "Granuloma": r"granulomas?",
    "Hernia, Hiatal": r"hiat(?:al|us) hernias?",
    "Fractures, Bone": r"fractures?",
    "Scoliosis": r"scoliosis",
    "Catheters, Indwelling": r"catheters?|central (?:venous )?lines?|picc",
    "Implanted Medical Device": r"pacemakers?|defibrillators?",
    "Tube, Inserted": r"(?:endotracheal|chest|feeding) tubes?",
}
_SPELLINGS = {name.lower(): name for name in (*CHEXPERT_14, *_CHEXPERT_OF_HEAD, *_WORDS_OF_HEAD, NORMAL)}
_MENTION = re.compile(
    r"\b(?:" + "|".join(f"(?P<h{n}>{words})" for n, words in enumerate(_WORDS_OF_HEAD.values())) + r")\b"
)
_HEADS = tuple(_WORDS_OF_HEAD)
# A denial reaches to the end of its clause, as in NegEx (Chapman et al., J Biomed Inform 2001).
_DENIAL = re.compile(r"\b(?:no|not|without|negative for|free of|absence of|rules? out|excluding)\b")
_CLAUSE_END = re.compile(r"[,;.:]|\b(?:but|with|however|although)\b")


def find_mentions(text: str) -> Mentions:
    """The findings that the words of a query name. `no`, `without` and their like deny until the clause ends."""
    asked: list[str] = []
    denied: list[str] = []
    for clause in _CLAUSE_END.split(text.lower()):
        denial = _DENIAL.search(clause)
        for mention in _MENTION.finditer(clause):
            head = _HEADS[int(str(mention.lastgroup)[1:])]
            (denied if denial and denial.end() <= mention.start() else asked).append(head)
    return Mentions(asked=_unique(asked), denied=_unique(head for head in denied if head not in asked))


def _split(field: str) -> list[list[str]]:
    """Terms of a field as lists of head and qualifiers. Never split on commas: they belong to MeSH names."""
    terms = [[" ".join(part.split()) for part in term.split("/")] for term in field.split(";")]
    return [[part for part in term if part] for term in terms if any(term)]


def _chexpert(head: str, qualifiers: list[str]) -> list[str]:
    names = [_CHEXPERT_OF_HEAD[head]] if head in _CHEXPERT_OF_HEAD else []
    names += [name for (noun, mark), name in _CHEXPERT_OF_QUALIFIED.items() if noun == head and mark in qualifiers]
    return names


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
