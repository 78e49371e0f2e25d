"""The labels of a study: the indexing first, completed by the words of the report."""

from __future__ import annotations

from collections.abc import Sequence

from retrieval.labels.finding_words import WORDS_OF_HEAD
from retrieval.labels.indexed_labels import SEVERITIES, Labels, facets, read_indexing
from retrieval.labels.language import is_english
from retrieval.labels.laterality import SIDES
from retrieval.labels.report_labels import LONGEST_TEXT, TextLabels, read_report
from retrieval.labels.vocabulary import CHEXPERT_14, NO_FINDING, NORMAL, SUPPORT_DEVICES, chexpert_names, unique
from retrieval.records import Status

# A report that names no finding and denies fewer says too little to call the study normal.
_DENIALS_OF_A_NORMAL_REPORT = 2


def label_study(
    mesh: str, problems: str, findings: str, impression: str, statuses: Sequence[tuple[str, Status]] = ()
) -> Labels:
    """Labels of a study from its indexing, its label columns and its report; any of them may be empty.

    The status that the indexing gives a finding stands; the text adds what the indexing does not name. Where the indexing
    says `normal`, what the text alone affirms is uncertain: the sources disagree. `No Finding` disputes CheXpert's
    observations alone. A study that nobody indexed is labelled by its text; it has `No Finding` if the text affirms and
    doubts nothing and denies at least two heads that are no support devices. (`normal` is the indexers' word for more than
    text can tell: nothing at all, not even of what no word list has.) Of text that is not English nothing is read.
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
    """Why labels do not tell all that a report says: notes for a summary, without its words."""
    if not is_english(f"{findings}\n{impression}"):
        return ("report not in English: no labels from its text",)
    if max(len(findings), len(impression)) > LONGEST_TEXT:
        return (f"long report: labels from its first {LONGEST_TEXT:,} characters",)
    return ()


def _disputes(indexed: Labels, name: str) -> bool:
    """Whether the indexing says that there is no such finding, without naming it."""
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
    """What the text says of a present finding's side or severity, where the indexing says none."""
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
    """Names whose kept status is also the text's; a doubt that the sources' disagreement made is nobody's but the text's."""
    said_normal = (NO_FINDING,) if _says_normal(text) else ()
    return unique(
        [
            *(name for name in present if name in text.present or name in said_normal),
            *(name for name in uncertain if name in text.uncertain or name in disputed),
            *(name for name in absent if name in text.absent),
        ]
    )
