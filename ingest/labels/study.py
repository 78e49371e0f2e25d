"""The labels of a study: from its indexing, completed by the text of its report."""

from __future__ import annotations

from collections.abc import Sequence

from retrieval.labels.finding_words import WORDS_OF_HEAD
from retrieval.labels.indexed_labels import SEVERITIES, Labels, facets, read_indexing
from retrieval.labels.language import is_english
from retrieval.labels.laterality import SIDES
from retrieval.labels.report_labels import LONGEST_TEXT, TextLabels, read_report
from retrieval.labels.vocabulary import CHEXPERT_14, NO_FINDING, NORMAL, SUPPORT_DEVICES, chexpert_names, unique
from retrieval.records import Status

# Heads that a report without findings must negate before its study is called normal.
_DENIALS_OF_A_NORMAL_REPORT = 2


def label_study(
    mesh: str, problems: str, findings: str, impression: str, statuses: Sequence[tuple[str, Status]] = ()
) -> Labels:
    """Labels of a study from its indexing, its label columns and its report. Any of them may be empty.

    The status from the indexing has precedence; the text adds findings that the indexing does not name. If the indexing says
    `normal`, findings that only the text affirms are uncertain, because the sources disagree. `No Finding` has this effect
    on CheXpert observations only. A study without indexing is labelled by its text. It gets `No Finding` if the text has no
    present or uncertain finding, and negates at least two heads that are not support devices. It does not get `normal`,
    which covers more than the word lists do. Text that is not English is not read.
    """
    indexed = read_indexing(mesh, problems, statuses)
    text = read_report(findings, impression) if is_english(f"{findings}\n{impression}") else TextLabels()
    named = {*indexed.present, *indexed.uncertain, *indexed.absent}
    disputed = [name for name in text.present if _disputes(indexed, name)]
    present = [*indexed.present, *_new(text.present, {*named, *disputed})]
    if _says_normal(text) and not (indexed.present or indexed.uncertain):
        present.append(NO_FINDING)
    uncertain = [*indexed.uncertain, *_new((*disputed, *text.uncertain), {*named, *present})]
    absent = [*indexed.absent, *_new(text.absent, {*present, *uncertain})]
    qualified = [*indexed.qualified, *_added(text.qualified, indexed.qualified, present)]
    return Labels(
        present=unique(present),
        uncertain=unique(uncertain),
        absent=unique(absent),
        problems=indexed.problems,
        mesh=indexed.mesh,
        **facets(qualified),
        from_indexing=indexed.from_indexing,
        from_text=_supported(text, present, uncertain, absent, disputed),
    )


def unread_text(findings: str, impression: str) -> tuple[str, ...]:
    """Reasons why the text of a report was not read or not read whole, for a summary; they quote no text."""
    if not is_english(f"{findings}\n{impression}"):
        return ("report not in English: no labels from its text",)
    if max(len(findings), len(impression)) > LONGEST_TEXT:
        return (f"long report: labels from its first {LONGEST_TEXT:,} characters",)
    return ()


def _disputes(indexed: Labels, name: str) -> bool:
    """Whether `normal` or `No Finding` in the indexing contradicts the finding `name`."""
    if NORMAL in indexed.present:
        return True
    observations = {name, *chexpert_names(name)} & set(CHEXPERT_14)
    return NO_FINDING in indexed.present and bool(observations - {SUPPORT_DEVICES})


def _says_normal(text: TextLabels) -> bool:
    denied = [head for head in text.absent if head in WORDS_OF_HEAD and SUPPORT_DEVICES not in chexpert_names(head)]
    return not (text.present or text.uncertain) and len(denied) >= _DENIALS_OF_A_NORMAL_REPORT


def _new(names: tuple[str, ...], known: set[str]) -> list[str]:
    return [name for name in names if name not in known]


def _added(qualified: tuple[str, ...], indexed: tuple[str, ...], present: list[str]) -> list[str]:
    """Sides and severities of present findings in the text, where the indexing has none."""
    settled = {(name, _kind(mark)) for name, _, mark in (each.rpartition("/") for each in indexed)}
    added = []
    for each in qualified:
        name, _, mark = each.rpartition("/")
        if name in present and (name, _kind(mark)) not in settled:
            added.append(each)
    return added


def _kind(mark: str) -> str:
    return "side" if mark in SIDES else "severity" if mark in SEVERITIES else "other"


def _supported(
    text: TextLabels, present: list[str], uncertain: list[str], absent: list[str], disputed: list[str]
) -> tuple[str, ...]:
    """Names whose final status the text supports; `disputed` names are uncertain because of the text."""
    no_finding = (NO_FINDING,) if _says_normal(text) else ()
    return unique(
        [
            *(name for name in present if name in text.present or name in no_finding),
            *(name for name in uncertain if name in text.uncertain or name in disputed),
            *(name for name in absent if name in text.absent),
        ]
    )
