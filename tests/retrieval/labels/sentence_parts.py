"""Hypothesis strategies of texts: findings, triggers, structures and joins, as reports and queries put them together."""

from __future__ import annotations

from hypothesis import strategies as st

FINDINGS = {
    "effusion": "Pleural Effusion",
    "pneumothorax": "Pneumothorax",
    "edema": "Pulmonary Edema",
    "pneumonia": "Pneumonia",
    "a nodule": "Nodule",
    "consolidation": "Consolidation",
    "atelectasis": "Pulmonary Atelectasis",
    "cardiomegaly": "Cardiomegaly",
    "rib fracture": "Fractures, Bone",
    "scoliosis": "Scoliosis",
}
TRIGGERS = [
    *(
        "no",
        "no evidence of",
        "without",
        "negative for",
        "free of",
        "neither",
        "absent",
        "resolved",
        "none",
        "not seen",
    ),
    *("is not seen", "has resolved", "has been removed", "is excluded", "no longer seen", "no change in", "not only"),
    *(
        "possible",
        "probable",
        "may represent",
        "suspicious for",
        "suspicious",
        "cannot exclude",
        "is possible",
        "likely",
    ),
    *("cannot be excluded", "differential includes", "versus", "if present", "question of", "rule out", "to exclude"),
    *("history of", "treated for", "follow-up of", "cannot be assessed", "until", "with or without", "ensure that"),
    *("but", "however", "with", "there is", "which", "except", "except for", "all cases except", "other than", "plus"),
]
STRUCTURES = [
    *("the heart is enlarged", "heart size is normal", "lungs are clear", "clear lungs", "normal mediastinum"),
    *("bones are intact", "the heart", "lungs", "normal", "enlarged", "is not enlarged", "borderline heart size"),
]
WORDS = [
    "small",
    "large left",
    "bilateral",
    "mild",
    "stable",
    "the",
    "in the right lung",
    "is",
    "are",
    "was",
    "seen",
    "new",
]
JOINS = [
    " ",
    " ",
    " ",
    ", ",
    " and ",
    " or ",
    ". ",
    "; ",
    ": ",
    "? ",
    " / ",
    " (",
    ") ",
    " & ",
    " + ",
    " - ",
    "\n",
    ", and ",
    ".\n",
]


@st.composite
def texts(draw: st.DrawFn, max_parts: int = 10) -> str:
    """A text of parts and joins in any order, from sensible to nonsense."""
    part = st.one_of(st.sampled_from(sorted(FINDINGS)), st.sampled_from(TRIGGERS), st.sampled_from(STRUCTURES + WORDS))
    parts = draw(st.lists(part, min_size=1, max_size=max_parts))
    joins = draw(st.lists(st.sampled_from(JOINS), min_size=len(parts), max_size=len(parts)))
    return "".join(one + join for one, join in zip(parts, joins, strict=True))
