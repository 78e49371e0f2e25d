"""`cxr labels`: the findings that a report or search text states, and why."""

from __future__ import annotations

import sys
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from archives.report_sections import split_report
from cxr.console import print_json
from cxr.options import JsonOption
from ingest.labels.explain import explain_query, explain_report
from ingest.labels.explanation import ExplainedMention, ExplainedSentence, Explanation
from retrieval.errors import InvalidRequest
from retrieval.records import Report


def labels(
    text: Annotated[str, typer.Argument(help="Report text, with or without section headings, or - for stdin.")],
    explain: Annotated[
        bool, typer.Option("--explain", help="Show which trigger or rule set the status of each finding.")
    ] = False,
    query: Annotated[
        bool,
        typer.Option("--query", help="Read TEXT as a query: findings to include and findings to exclude."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List findings in a report: present, uncertain, absent.

    The labels are those that `cxr ingest` reads from such a text. The indexing of a study may overrule them.

    \b
    cxr labels "Heart size normal. No pleural effusion. Possible left basilar atelectasis."
    cxr labels --explain "No focal consolidation, effusion or pneumothorax."
    cxr labels --query --explain "cardiomegaly without pulmonary edema" --json
    """
    content = sys.stdin.read() if text == "-" else text
    if not content.strip():
        raise InvalidRequest("the text is empty; give a report text, or - to read it from stdin")
    explanation = explain_query(content) if query else explain_report(split_report(Report(findings=content)))
    if as_json:
        print_json(_to_document(explanation, explain=explain))
        return
    console = Console(highlight=False)
    _print_labels(console, explanation)
    if explain and not explanation.note:
        _print_mentions(console, explanation)
        for omitted in explanation.omitted:
            console.print(f"not read ({omitted.section}): {omitted.reason}", markup=False)


def _to_document(explanation: Explanation, *, explain: bool) -> dict[str, object]:
    document: dict[str, object] = msgspec.to_builtins(explanation)
    if explain:
        return document
    return {name: document[name] for name in ("dialect", "is_english", "labels", "note")}


def _print_labels(console: Console, explanation: Explanation) -> None:
    if explanation.note:
        console.print(explanation.note, markup=False)
        return
    table = Table("status", "findings")
    for status, names in explanation.labels.items():
        if names:
            table.add_row(status, ", ".join(names))
    if table.row_count:
        console.print(table)
    else:
        console.print("no known finding", markup=False)


def _print_mentions(console: Console, explanation: Explanation) -> None:
    """One table for each sentence, with a row for each mention of a finding; then triggers without effect."""
    for sentence in explanation.sentences:
        title = Text(f"{sentence.section}: {sentence.text}")
        table = Table("finding", "status", "rule", "why", title=title, title_justify="left")
        for mention in sentence.mentions:
            table.add_row(mention.finding, _describe_status(mention), mention.rule, Text(mention.reason))
        console.print(table if sentence.mentions else Text(f"{sentence.section}: {sentence.text}: no finding"))
        for line in _describe_idle_triggers(sentence):
            console.print(line, markup=False)


def _describe_status(mention: ExplainedMention) -> str:
    """`absent`, or `absent, in the whole text: present` where another sentence says more; with side and severity."""
    status = mention.status or "not stated"
    parts = [status, *(word for word in (mention.side, mention.severity) if word)]
    if mention.result and mention.result not in (status, "asked", "denied"):
        parts.append(f"in the whole text: {mention.result}")
    return ", ".join(parts)


def _describe_idle_triggers(sentence: ExplainedSentence) -> list[str]:
    """Triggers without effect in the sentence, such as a pseudo-negation."""
    return [
        f'"{trigger.text}" ({trigger.kind}) has no effect here.' for trigger in sentence.triggers if not trigger.effect
    ]
