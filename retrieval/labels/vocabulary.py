"""The two vocabularies of findings, and the mapping from Indiana heads to CheXpert observations."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterable

from retrieval.errors import UnknownFinding
from retrieval.labels.finding_words import WORDS_OF_HEAD

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

OTHER_HEADS = (
    *("Abdomen", "Adipose Tissue", "Aorta", "Aorta, Thoracic", "Bone and Bones", "Breast Implants", "Bronchitis"),
    *("Bullous Emphysema", "Cardiac Shadow", "Cavitation", "Cervical Vertebrae", "Cholelithiasis"),
    *("Colonic Interposition", "Contrast Media", "Cysts", "Diaphragm", "Dislocations", "Epicardial Fat"),
    *("Expansile Bone Lesions", "Foreign Bodies", "Funnel Chest", "Heart", "Heart Atria", "Heart Ventricles"),
    *("Hemopneumothorax", "Hernia, Diaphragmatic", "Humerus", "Hyperostosis, Diffuse Idiopathic Skeletal"),
    *("Hypovolemia", "Lucency", "Lumbar Vertebrae", "Lung", "Lymph Nodes", "Markings", "Mastectomy", "Mediastinum"),
    *("Medical Device", "Nipple Shadow", "No Indexing", "Osteoporosis", "Pectus Carinatum", "Pleura", "Pneumonectomy"),
    *(
        "Pulmonary Artery",
        "Pulmonary Emphysema",
        "Ribs",
        "Sclerosis",
        "Shift",
        "Shoulder",
        "Spine",
        "Sulcus",
        "Sutures",
    ),
    *("Technical Quality of Image Unsatisfactory", "Thoracic Vertebrae", "Thorax", "Trachea", "Trachea, Carina"),
)
"""Heads of the Indiana indexing that are not read from texts: structures and rare findings."""

NORMAL = "normal"
NO_FINDING = "No Finding"
SUPPORT_DEVICES = "Support Devices"

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
    "Catheters, Indwelling": SUPPORT_DEVICES,
    "Tube, Inserted": SUPPORT_DEVICES,
    "Implanted Medical Device": SUPPORT_DEVICES,
    "Medical Device": SUPPORT_DEVICES,
    "Stents": SUPPORT_DEVICES,
    "Surgical Instruments": SUPPORT_DEVICES,
}
# Heads of structures that are a finding only with this qualifier.
_CHEXPERT_OF_QUALIFIED = {
    ("Thickening", "pleura"): "Pleural Other",
    ("Mediastinum", "enlarged"): "Enlarged Cardiomediastinum",
}
_SMALL_WORDS = {"of", "and", "the"}

_SPELLINGS = {name.lower(): name for name in (*CHEXPERT_14, *_CHEXPERT_OF_HEAD, *WORDS_OF_HEAD, NORMAL)}


def clean_head(head: str) -> str:
    """A head with single blanks, and capitals as in MeSH: `Lymph  nodes` becomes `Lymph Nodes`."""
    words = head.split()
    if len(words) == 1 and words[0].lower() == NORMAL:
        return NORMAL
    return " ".join(word if word in _SMALL_WORDS else word[:1].upper() + word[1:] for word in words)


def chexpert_names(head: str, qualifiers: Iterable[str] = ()) -> list[str]:
    """The CheXpert observations of a head with its qualifiers: none or one."""
    marks = set(qualifiers)
    names = [_CHEXPERT_OF_HEAD[head]] if head in _CHEXPERT_OF_HEAD else []
    return names + [name for (noun, mark), name in _CHEXPERT_OF_QUALIFIED.items() if noun == head and mark in marks]


def denied_names(head: str) -> list[str]:
    """The CheXpert observations that are absent if a head is: those of no other head (no mass, but maybe a nodule)."""
    parts = Counter(_CHEXPERT_OF_HEAD.values())
    return [name for name in chexpert_names(head) if parts[name] == 1]


def resolve_finding(name: str, known: Callable[[], Iterable[str]]) -> str:
    """The canonical spelling of the finding `name`, in any case, from both vocabularies and the names that `known` returns.

    `known` is called only for a name that neither vocabulary has, since it sends a request to the index.

    Raises:
        UnknownFinding: there is no such finding. The message suggests the nearest names.
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


def unique(names: Iterable[str]) -> tuple[str, ...]:
    """`names` without duplicates, in order."""
    return tuple(dict.fromkeys(names))
