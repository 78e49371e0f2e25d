"""Words that describe a finding (side, severity, size, course), and verbs: they show where a statement begins."""

from __future__ import annotations

from retrieval.labels.laterality import Side

VERBS = (
    r"is|are|was|were|has|have|had|be|been|appears?|remains?|demonstrates?|shows?|reveals?"
    r"|obscur(?:es|ing)|project(?:s|ing)?"
    r"|seen|noted|identified|present|visuali[sz]ed|evident|detected|found|suggested"
)

WORDS_OF_SIDE: dict[Side, str] = {
    "left": r"left(?:[- ]sided)?|lt",
    "right": r"right(?:[- ]sided)?|rt",
    "bilateral": r"bilat(?:eral(?:ly)?)?|bibasilar|bibasal|both|biapical",
}
WORDS_OF_SEVERITY = {
    "mild": r"mild(?:ly)?|minimal(?:ly)?|slight(?:ly)?",
    "moderate": r"moderate(?:ly)?",
    "severe": r"severe(?:ly)?",
    "small": r"small|tiny",
    "large": r"large",
}
SIZES = r"small|tiny|trace"
OTHER_DESCRIPTORS = (
    r"stable|unchanged|chronic|persistent|again|prominent|increased|increasing|worsening|improv(?:ed"
    r"|ing)|old|healed|known"
    r"|interval|basilar|right-sided|left-sided|post(?:operative|surgical)|degenerative|tortuous"
)
