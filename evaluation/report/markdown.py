"""A comparison or an evaluation in Markdown."""

from __future__ import annotations

from evaluation.report import tables
from evaluation.report.tables import Table
from evaluation.results import Comparison, Evaluation
from evaluation.tasks import TASKS

NOTICE = "Research use only. Not a medical device; not for diagnosis."


def render_markdown(comparison: Comparison) -> str:
    """The comparison as a Markdown document."""
    names = " · ".join(each.model for each in comparison.evaluations)
    lines = [f"# Comparison: {names}", "", *_body(comparison.evaluations, comparison)]
    return "\n".join(lines) + "\n"


def render_evaluation(evaluation: Evaluation) -> str:
    """One evaluation as a Markdown document."""
    return "\n".join([f"# Evaluation: {evaluation.model}", "", *_body([evaluation], None)]) + "\n"


def tables_of(evaluations: list[Evaluation], comparison: Comparison | None) -> list[Table]:
    """All tables of a report, in order."""
    by_finding = [
        tables.findings(evaluations, task) for task, description in TASKS.items() if description.relevance == "labels"
    ]
    return [
        tables.summary(evaluations),
        *([tables.tests(comparison)] if comparison else []),
        *tables.tasks(evaluations),
        *(table for table in by_finding if table),
        tables.search_checks(evaluations),
        tables.resources(evaluations),
        tables.provenance(evaluations),
    ]


def _body(evaluations: list[Evaluation], comparison: Comparison | None) -> list[str]:
    lines = [NOTICE, ""]
    if comparison:
        lines += ["## Verdict", "", *(f"- {_escape(line)}" for line in comparison.verdict), ""]
    lines += ["## Data and protocol", "", *(f"- {_escape(line)}" for line in tables.protocol_lines(evaluations[0])), ""]
    for table in tables_of(evaluations, comparison):
        lines += [f"## {table.title}", "", table.note, ""]
        lines += [_row(table.headings), _row(["---"] * len(table.headings)), *(_row(each) for each in table.rows), ""]
    return lines


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(_escape(cell) for cell in cells) + " |"


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
