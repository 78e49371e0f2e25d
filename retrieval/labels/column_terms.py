"""Terms in the label columns of other datasets: NIH ChestX-ray14, PadChest, CheXpert, MIMIC-CXR."""

from __future__ import annotations

import re
from functools import lru_cache

from retrieval.labels.finding_words import WORDS_OF_HEAD
from retrieval.labels.vocabulary import CHEXPERT_14, NORMAL, OTHER_HEADS, clean_head
from retrieval.records import Status

Term = list[str]
"""A head and its qualifiers."""

SAYS_NOTHING = "Unchanged"
"""PadChest: the labels of an earlier report apply, but this cell does not have them."""

# CheXpert observations with one head of the same meaning.
_HEAD_OF_CHEXPERT = {"Edema": "Pulmonary Edema", "Atelectasis": "Pulmonary Atelectasis", "Fracture": "Fractures, Bone"}
# Terms by head, beside the words of reports (`WORDS_OF_HEAD`). NIH: Wang et al., CVPR 2017, whose `Hernia` is hiatal (as in
# torchxrayvision). PadChest: the tree of terms in Bustos et al., 2020, appendix.
_TERMS_OF_HEAD = {
    "Pulmonary Atelectasis": "laminar atelectasis|lobar atelectasis|segmental atelectasis|total atelectasis"
    "|round atelectasis|atelectasis basal",
    "Airspace Disease": "alveolar pattern",
    "Opacity": "ground glass pattern|pulmonary opacity|lung opacities",
    "Mass": "pulmonary mass|lung mass",
    "Lung Lesion": "nodule/mass|mass/nodule|nodule or mass",
    "Nodule": "multiple nodules|lung nodule|pulmonary nodule",
    "Pulmonary Fibrosis": "fibrosis|lung fibrosis",
    "Cicatrix": "fibrotic band",
    "Pneumonia": "atypical pneumonia|viral pneumonia|bacterial pneumonia|lung infection",
    "Pleural Effusion": "loculated pleural effusion|loculated fissural effusion",
    "Costophrenic Angle": "costophrenic angle blunting",
    "Heart Failure": "heart insufficiency",
    "Pulmonary Congestion": "vascular redistribution|pulmonary venous congestion",
    "Pulmonary Disease, Chronic Obstructive": "copd signs",
    "Lung Diseases, Interstitial": "ild",
    "Blister": "bullas|bulla",
    "Hernia, Hiatal": "hernia",
    "Atherosclerosis": "aortic atheromatosis",
    "Aortic Aneurysm": "descendent aortic aneurysm|thoracic aortic aneurysm",
    "Hypertension, Pulmonary": "pulmonary artery hypertension",
    "Enlarged Cardiomediastinum": "mediastinal enlargement|superior mediastinal enlargement|widened mediastinum",
    "Pneumoperitoneum": "pneumoperitoneo|subdiaphragmatic air",
    "Fractures, Bone": "rib fracture|callus rib fracture|clavicle fracture|humeral fracture|vertebral fracture|bone fracture"
    "|recent rib fracture",
    "Osteophyte": "osteophytes",
    "Implanted Medical Device": "pacemaker|dual chamber device|single chamber device|electrical device"
    "|artificial heart valve|artificial mitral heart valve|artificial aortic heart valve",
    "Catheters, Indwelling": "central venous catheter|central venous catheter via subclavian vein|picc"
    "|reservoir central venous catheter|central venous catheter via jugular vein"
    "|central venous catheter via umbilical vein",
    "Tube, Inserted": "endotracheal tube|nsg tube|chest drain tube|tracheostomy tube|gastrostomy tube"
    "|ventriculoperitoneal drain tube",
    "Stents": "endoprosthesis|aortic endoprosthesis",
    "Sutures": "suture material",
    "No Indexing": "exclude",
    "Technical Quality of Image Unsatisfactory": "suboptimal study",
    "No Finding": "no findings|no abnormality",
}
_HEAD_OF_TERM = {term: head for head, terms in _TERMS_OF_HEAD.items() for term in terms.split("|")}
# Thickening of the pleura: its head is a finding only with the qualifier `pleura`.
_PLEURAL = frozenset(
    {
        "pleural thickening",
        "apical pleural thickening",
        "calcified pleural thickening",
        "pleural plaques",
        "calcified pleural plaques",
    }
)
_HEADS = {head.lower(): head for head in (*WORDS_OF_HEAD, *OTHER_HEADS, *CHEXPERT_14, NORMAL)}
_WORDS = {head: re.compile(words) for head, words in WORDS_OF_HEAD.items()}

_PRESENT = frozenset({"true", "yes", "y", "t", "present", "positive", "pos"})
_ABSENT = frozenset({"false", "no", "n", "f", "absent", "negative", "neg"})
_UNCERTAIN = frozenset({"uncertain", "u", "unclear", "equivocal", "possible"})
_NUMBERS: dict[float, Status] = {1.0: "present", 0.0: "absent", -1.0: "uncertain"}

_LIST = re.compile(r"[\[({](.*)[\])}]", re.DOTALL)
_ENTRY = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)\"""", re.DOTALL)
_MAPPING = re.compile(r"[\s\[(]*\{[^{}]*?:")
_MISSING_ENTRIES = frozenset({"", "nan", "none", "null", "n/a", "<na>", "unknown", "todo", "?", "-"})


def read_terms(field: str) -> list[Term]:
    """The terms of a cell, each under its head in either vocabulary, or under its own name if neither has it.

    Separators are `;` (Indiana), `|` (NIH), or those of a Python or JSON list (PadChest). Qualifiers follow after `/`. MeSH
    names contain commas, so a comma separates only if every part is a known term and the whole is not. A mapping
    (`is_mapping`) has no terms: its keys mean nothing without its values.
    """
    found: list[Term] = []
    for entry in [] if is_mapping(field) else _entries(field):
        if whole := find_term(entry):  # VinDr's `Nodule/Mass` has no qualifier
            found.append(whole)
            continue
        term = [part for part in (" ".join(part.split()) for part in entry.split("/")) if part]
        if not term:
            continue
        parts = [find_term(part) for part in term[0].split(",")]
        if len(parts) > 1 and all(parts) and find_term(term[0]) is None:
            found += [part for part in parts if part]
        else:
            found.append([*(find_term(term[0]) or [clean_head(term[0].replace("_", " "))]), *term[1:]])
    return found


@lru_cache(4096)
def _find(name: str) -> tuple[str, ...] | None:
    text = " ".join(name.replace("_", " ").split()).lower().rstrip(".")
    if text in _PLEURAL:
        return ("Thickening", "pleura")
    if head := _HEAD_OF_TERM.get(text) or _HEADS.get(text):
        return (_HEAD_OF_CHEXPERT.get(head, head),)
    if text == SAYS_NOTHING.lower():
        return (SAYS_NOTHING,)
    return next(((head,) for head, words in _WORDS.items() if words.fullmatch(text)), None)


def find_term(name: str) -> Term | None:
    """The term of `name` in any spelling: its head, and the qualifier that the name implies. None if it is unknown."""
    found = _find(name)
    return list(found) if found else None


def is_mapping(cell: str) -> bool:
    """Whether a cell holds a mapping such as `{"Edema": 1, "Fracture": 0}`, or a list of mappings."""
    return _MAPPING.match(cell) is not None


def read_status(cell: str) -> Status | None:
    """The status in a cell of a finding's column (CheXpert: 1, 0, -1); None if it is no status."""
    text = cell.strip().casefold().replace("−", "-")
    if text in _PRESENT:
        return "present"
    if text in _ABSENT:
        return "absent"
    if text in _UNCERTAIN:
        return "uncertain"
    try:
        return _NUMBERS.get(float(text.replace(",", ".")))
    except ValueError:
        return None


def _entries(field: str) -> list[str]:
    text = field.strip()
    # Several lists, from nested lists in Parquet or from several rows of a study, are separated by `;`.
    if matched := _LIST.fullmatch(text):
        inner = matched[1]
        quoted = [" ".join((one or two).split()) for one, two in _ENTRY.findall(inner)]
        entries = quoted if quoted or "'" in inner or '"' in inner else inner.split(",")
    else:
        entries = re.split(r"[;|]", text)
    return [entry.strip() for entry in entries if entry.strip().lower() not in _MISSING_ENTRIES]
