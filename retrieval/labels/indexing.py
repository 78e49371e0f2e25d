"""What the indexing says of a study: MeSH and Problems fields, as Open-i writes them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from retrieval.labels.vocabulary import NO_FINDING, NORMAL, chexpert_names, clean_head, unique

# Neither says anything about findings: the study was not indexed, or could not be judged.
_UNLABELLED = {"No Indexing", "Technical Quality of Image Unsatisfactory"}
_UNCERTAIN_QUALIFIERS = {"borderline"}

SIDES = ("left", "right", "bilateral")
SEVERITIES = ("mild", "moderate", "severe", "small", "large", "borderline")
SITES = frozenset(
    {
        "abdomen",
        "aorta",
        "aorta, thoracic",
        "aortic valve",
        "apex",
        "azygos lobe",
        "base",
        "breast",
        "bronchi",
        "cardiophrenic angle",
        "cervical vertebrae",
        "clavicle",
        "coronary vessels",
        "costophrenic angle",
        "diaphragm",
        "esophagus",
        "heart",
        "heart atria",
        "heart ventricles",
        "hilum",
        "humerus",
        "lingula",
        "lower lobe",
        "lumbar vertebrae",
        "lung",
        "lymph nodes",
        "mediastinum",
        "middle lobe",
        "mitral valve",
        "neck",
        "paratracheal",
        "pleura",
        "pulmonary artery",
        "retrocardiac",
        "ribs",
        "shoulder",
        "spine",
        "sternum",
        "thoracic vertebrae",
        "thorax",
        "trachea",
        "trachea, carina",
        "upper lobe",
    }
)
"""Qualifiers of the Indiana indexing that name a place; what is neither side, severity nor place describes (`patchy`)."""

QUALIFIERS = {"sides": frozenset(SIDES), "sites": SITES, "severities": frozenset(SEVERITIES)}
"""Qualifiers by the field that holds them."""


@dataclass(frozen=True, slots=True)
class Labels:
    """What is known of one study; every tuple is free of duplicates and in the order of the source.

    `present`, `uncertain` and `absent` hold names of both vocabularies, no name in two of them. `mesh` holds each term with
    its ancestors (`Opacity`, `Opacity/lung`, `Opacity/lung/base`), `problems` the heads; both are the indexing's alone.
    `qualified` holds each present finding with each of its qualifiers (`Opacity/left`, `Lung Opacity/left`); `sides`,
    `sites` and `severities` are those qualifiers by kind. `from_indexing` and `from_text` name the findings whose status
    here is also what that source says.
    """

    present: tuple[str, ...] = ()
    uncertain: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    mesh: tuple[str, ...] = ()
    qualified: tuple[str, ...] = ()
    sides: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    severities: tuple[str, ...] = ()
    from_indexing: tuple[str, ...] = ()
    from_text: tuple[str, ...] = ()


def read_labels(mesh: str, problems: str) -> Labels:
    """Labels of a study from its MeSH and Problems fields alone (`Opacity/lung/base/left;Nodule`).

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
    qualified: list[str] = []
    for head, *qualifiers in every:
        if head in _UNLABELLED or head == NORMAL:
            continue
        found = [head, *chexpert_names(head, qualifiers)]
        if _UNCERTAIN_QUALIFIERS & set(qualifiers):
            uncertain.extend(found)
        else:
            present.extend(found)
            qualified.extend(f"{name}/{qualifier.lower()}" for name in found for qualifier in qualifiers)
    if every and all(head == NORMAL for head, *_ in every):
        present = [NORMAL, NO_FINDING]
    doubted = [name for name in uncertain if name not in present]
    return Labels(
        present=unique(present),
        uncertain=unique(doubted),
        problems=unique(problem_heads or heads),
        mesh=unique("/".join(term[: depth + 1]) for term in terms for depth in range(len(term))),
        **facets(qualified),
        from_indexing=unique([*present, *doubted]),
    )


def facets(qualified: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Qualified findings, and their qualifiers by kind, as the fields of `Labels`."""
    every = unique(qualified)
    qualifiers = unique(name.rpartition("/")[2] for name in every)
    return {
        "qualified": every,
        "sides": tuple(each for each in qualifiers if each in SIDES),
        "sites": tuple(each for each in qualifiers if each in SITES),
        "severities": tuple(each for each in qualifiers if each in SEVERITIES),
    }


def _split(field: str) -> list[list[str]]:
    """Terms of a field as lists of head and qualifiers. Never split on commas: they belong to MeSH names."""
    terms = [[" ".join(part.split()) for part in term.split("/")] for term in field.split(";")]
    return [[part for part in term if part] for term in terms if any(term)]
