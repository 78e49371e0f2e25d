"""Labels from the indexing of a study: the MeSH and Problems fields of Open-i, and the label columns of other datasets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from retrieval.labels.column_terms import SAYS_NOTHING, find_term, read_terms
from retrieval.labels.laterality import SIDES
from retrieval.labels.vocabulary import (
    CHEXPERT_14,
    NO_FINDING,
    NORMAL,
    SUPPORT_DEVICES,
    chexpert_names,
    clean_head,
    denied_names,
    unique,
)
from retrieval.records import Status

# Terms of studies without labels: not indexed, or image quality too poor.
_UNLABELLED = {"No Indexing", "Technical Quality of Image Unsatisfactory"}
_UNCERTAIN_QUALIFIERS = {"borderline"}

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
"""Qualifiers of the Indiana indexing that name a site. All others (`patchy`) are neither side, severity nor site."""

QUALIFIERS = {"sides": frozenset(SIDES), "sites": SITES, "severities": frozenset(SEVERITIES)}
"""Qualifiers by their field in `Labels`."""


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of one study. Every tuple is in the order of the source, without duplicates.

    `present`, `uncertain` and `absent` hold names of both vocabularies; no name is in two of them. `mesh` holds each term
    with its ancestors (`Opacity`, `Opacity/lung`, `Opacity/lung/base`), and `problems` the heads; both come from the
    indexing only. `qualified` holds each present finding with each of its qualifiers (`Opacity/left`, `Lung Opacity/left`);
    `sides`, `sites` and `severities` are the qualifiers by kind. `from_indexing` and `from_text` hold the findings whose
    status that source supports.
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


def read_indexing(mesh: str, problems: str, statuses: Iterable[tuple[str, Status]] = ()) -> Labels:
    """Labels of a study from its MeSH and Problems fields (`Opacity/lung/base/left;Nodule`) and its label columns only.

    Terms may come from other datasets (`retrieval.labels.column_terms`). `statuses` are findings with their status, as
    the label columns of CheXpert hold them. A term with the qualifier `borderline` is uncertain. `normal` counts only if it
    stands alone. `No Finding` counts only if no CheXpert observation except devices is present or uncertain. `No Indexing`
    and unsatisfactory image quality leave the study without labels; they do not make it normal.
    """
    terms = _terms(mesh)
    heads = [term[0] for term in terms]
    problem_terms = _terms(problems)
    # Problems repeat the heads of MeSH without qualifiers; only other heads add anything.
    every = terms + [term for term in problem_terms if term[0] not in heads]

    present: list[str] = []
    uncertain: list[str] = []
    absent: list[str] = []
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
    affirmed: list[str] = []
    for name, status in statuses:
        head, *qualifiers = find_term(name) or [clean_head(name)]
        if head in (NORMAL, NO_FINDING) and status != "present":
            continue  # "not normal" does not say what was found
        names = denied_names(head) if status == "absent" else chexpert_names(head, qualifiers)
        {"present": present, "uncertain": uncertain, "absent": absent}[status].extend([head, *names])
        affirmed += [head] if status == "present" else []
    present = [name for name in present if name not in (NORMAL, NO_FINDING) or not _findings(present, uncertain)]
    doubted = [name for name in uncertain if name not in present]
    denied = [name for name in absent if name not in (*present, *doubted)]
    return Labels(
        present=unique(present),
        uncertain=unique(doubted),
        absent=unique(denied),
        problems=unique([*([term[0] for term in problem_terms] or heads), *affirmed]),
        mesh=unique("/".join(term[: depth + 1]) for term in terms for depth in range(len(term))),
        **facets(qualified),
        from_indexing=unique([*present, *doubted, *denied]),
    )


def unknown_terms(mesh: str, problems: str) -> tuple[str, ...]:
    """The heads in the MeSH and Problems fields that are in neither vocabulary."""
    return unique(term[0] for field in (mesh, problems) for term in read_terms(field) if find_term(term[0]) is None)


def _findings(present: Iterable[str], uncertain: Iterable[str]) -> set[str]:
    """The CheXpert observations that contradict `No Finding`."""
    return ({*present, *uncertain} & set(CHEXPERT_14)) - {NO_FINDING, SUPPORT_DEVICES}


def _terms(field: str) -> list[list[str]]:
    # Numbers are class ids; only their dataset knows the names.
    return [term for term in read_terms(field) if term[0] != SAYS_NOTHING and any(map(str.isalpha, term[0]))]


def facets(qualified: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The fields `qualified`, `sides`, `sites` and `severities` of `Labels`."""
    every = unique(qualified)
    qualifiers = unique(name.rpartition("/")[2] for name in every)
    return {
        "qualified": every,
        "sides": tuple(each for each in qualifiers if each in SIDES),
        "sites": tuple(each for each in qualifiers if each in SITES),
        "severities": tuple(each for each in qualifiers if each in SEVERITIES),
    }
