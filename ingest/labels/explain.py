"""Explains the labels of a text: for each mention of a finding, the trigger that set its status, and the end of its scope.

The labeller itself records this while it reads (`retrieval.labels.scanner`); there is no second reader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict

from ingest.labels.explanation import (
    ExplainedMention,
    ExplainedSentence,
    ExplainedTrigger,
    Explanation,
    OmittedText,
)
from retrieval.labels.assertions import assert_mention, omitted_parts, read_part
from retrieval.labels.kinds import Dialect, Kind
from retrieval.labels.language import is_english
from retrieval.labels.query_mentions import find_mentions, spell_out
from retrieval.labels.report_labels import LONGEST_TEXT, TextLabels, names_of, read_report
from retrieval.labels.scan_state import Mention, Scope
from retrieval.labels.scanner import Scan, scan_sentence
from retrieval.labels.sentences import read_sentences
from retrieval.labels.spans import Span
from retrieval.labels.triggers import AFTER_FINDINGS, BEFORE_FINDINGS
from retrieval.records import Report

NOT_ENGLISH = "The text is not English. Labels are read from English text only."
_TOO_LONG = f"Only the first {LONGEST_TEXT:,} characters of a text are read."
_REASONS = {
    "indication": "The indication and history say what was asked, not what was found.",
    "comparison": "The comparison names earlier images.",
    "question": 'What follows "//" is the question of the referrer.',
    "length": _TOO_LONG,
}
_TRIGGERS = frozenset({*BEFORE_FINDINGS, *AFTER_FINDINGS, Kind.QUESTION_MARK})
_LONGEST_QUOTE = 60


def explain_report(report: Report) -> Explanation:
    """The explanation of the labels of a report; its sections are those of `archives.report_sections.split_report`.

    Findings and impression are read. Indication and comparison are not: they are in `omitted`.
    """
    omitted = [
        OmittedText(name, text, _REASONS[name])
        for name, text in (("indication", report.indication), ("comparison", report.comparison))
        if text.strip()
    ]
    sections = {"findings": report.findings, "impression": report.impression}
    if not is_english(f"{report.findings}\n{report.impression}"):
        unread = [OmittedText(name, text, NOT_ENGLISH) for name, text in sections.items() if text.strip()]
        return Explanation("report", is_english=False, omitted=(*unread, *omitted), note=NOT_ENGLISH)
    labels = read_report(**sections)
    sentences: list[ExplainedSentence] = []
    for name, text in sections.items():
        read = text[:LONGEST_TEXT]
        sentences += _explain_sentences(read, name, "report", lambda head: _status_in(labels, head))
        omitted += [OmittedText(name, part, _REASONS["question"]) for part in omitted_parts(read)]
        if text[LONGEST_TEXT:].strip():
            omitted.append(OmittedText(name, text[LONGEST_TEXT:], _REASONS["length"]))
    return Explanation(
        "report", is_english=True, sentences=tuple(sentences), omitted=tuple(omitted), labels=_lists(asdict(labels))
    )


def explain_query(text: str) -> Explanation:
    """The explanation of a query: findings to include and findings to exclude."""
    mentions = find_mentions(text)
    lists = _lists({name: getattr(mentions, name) for name in ("asked", "uncertain", "denied", "unread")})
    if not mentions.english:
        unread = (OmittedText("query", text, NOT_ENGLISH),)
        return Explanation("query", is_english=False, omitted=unread, labels=lists, note=NOT_ENGLISH)

    def result(head: str) -> str:
        if head in mentions.asked:
            return "asked"
        return "denied" if any(name.split("/")[0] == head for name in mentions.denied) else ""

    sentences = tuple(_explain_sentences(spell_out(text[:LONGEST_TEXT]), "query", "query", result))
    rest = text[LONGEST_TEXT:]
    omitted = (OmittedText("query", rest, _REASONS["length"]),) if rest.strip() else ()
    return Explanation("query", is_english=True, sentences=sentences, omitted=omitted, labels=lists)


def _lists(names: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    return {key: tuple(each) for key, each in names.items()}


def _status_in(labels: TextLabels, head: str) -> str:
    """The status that the whole report gives `head`: present in one sentence, it is present."""
    return next((status for status in ("present", "uncertain", "absent") if head in getattr(labels, status)), "")


def _explain_sentences(
    text: str, section: str, dialect: Dialect, result: Callable[[str], str]
) -> Iterator[ExplainedSentence]:
    for sentence in read_sentences(read_part(text, dialect)):
        scan = scan_sentence(sentence, dialect)
        yield ExplainedSentence(
            section=section,
            text=sentence,
            mentions=tuple(
                explained
                for mention in scan.mentions
                for explained in _explain_mention(sentence, scan, mention, dialect, result)
            ),
            triggers=tuple(_explain_trigger(sentence, scan, span) for span in scan.spans if span.kind in _TRIGGERS),
        )


def _explain_mention(
    sentence: str, scan: Scan, mention: Mention, dialect: Dialect, result: Callable[[str], str]
) -> Iterator[ExplainedMention]:
    """One entry for each head of the mention."""
    spans = [scan.spans[mention.index], *([mention.structure] if mention.structure else [])]
    start, end = min(span.start for span in spans), max(span.end for span in spans)
    trigger = _explain_scope(sentence, scan, mention.scope) if mention.scope else None
    asserted = {each.head: each for each in assert_mention(sentence, scan, mention, dialect)}
    for head in mention.heads:
        assertion = asserted.get(head)
        yield ExplainedMention(
            finding=head,
            observations=tuple(name for name in names_of(head) if name != head),
            text=sentence[start:end],
            start=start,
            end=end,
            status=mention.status,
            side=assertion.side if assertion else "",
            severity=assertion.severity if assertion else "",
            rule=trigger.kind if trigger else "structure" if mention.structure else "named",
            trigger=trigger,
            result=result(head),
            reason=_reason(sentence, scan, mention, trigger),
        )


def _reason(sentence: str, scan: Scan, mention: Mention, trigger: ExplainedTrigger | None) -> str:
    """One sentence that says why the mention has its status."""
    status = mention.status or "not stated, so it gets no label"
    if trigger is None and mention.structure:
        structure, predicate = (
            sentence[span.start : span.end] for span in (mention.structure, scan.spans[mention.index])
        )
        return f'"{structure}" is described as "{predicate}": it is {status}.'
    if trigger is None:
        return f"No trigger applies: it is {status}."
    scope = sentence[trigger.scope_start : trigger.scope_end].strip()
    quote = scope if len(scope) <= _LONGEST_QUOTE else f"{scope[: _LONGEST_QUOTE - 1].rstrip()}…"
    ended = f', and its scope ends at "{trigger.ended_by}"' if trigger.ended_by else ""
    return f'"{trigger.text}" ({trigger.kind}) applies to "{quote}"{ended}: it is {status}.'


def _explain_trigger(sentence: str, scan: Scan, span: Span) -> ExplainedTrigger:
    """The trigger with the first scope that it opened; without one if it has no effect here."""
    scope = next((each for each in scan.scopes if each.trigger is span and each.start < each.end), None)
    if scope:
        return _explain_scope(sentence, scan, scope)
    return ExplainedTrigger(sentence[span.start : span.end], span.kind.value, span.start, span.end)


def _explain_scope(sentence: str, scan: Scan, scope: Scope) -> ExplainedTrigger:
    trigger = scope.trigger
    is_backward = scope.end <= trigger.start
    ending = next((each for each in scan.spans if each.start == scope.end and not is_backward), None)
    return ExplainedTrigger(
        text=sentence[trigger.start : trigger.end],
        kind=trigger.kind.value,
        start=trigger.start,
        end=trigger.end,
        effect=scope.effect.value,
        direction="backward" if is_backward else "forward",
        scope_start=scope.start,
        scope_end=scope.end,
        ended_by=sentence[ending.start : ending.end] if ending else "",
    )
