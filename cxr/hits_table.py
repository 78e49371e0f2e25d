"""The hits of a search as a table on stdout."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from retrieval.search.hits import SearchResult

_REPORT_CHARACTERS = 160


def print_hits(result: SearchResult, title: str | None = None) -> None:
    """Print rank, score, share of each signal, case, findings and report of each hit; the table fits 80 columns."""
    heading = f"{result.model} · {result.collection}"
    table = Table(
        title=f"{title}\n{heading}" if title else heading,
        title_justify="left",
        caption=_describe_query(result),
        caption_justify="left",
    )
    for column in ("#", "score", "parts", "case", "findings", "report"):
        table.add_column(column, justify="right" if column in ("#", "score") else "left", overflow="fold")
    table.columns[2].no_wrap = True
    for rank, hit in enumerate(result.hits, start=1):
        parts = "\n".join(f"{part:+.2f} {name}" for name, part in hit.parts.items())
        findings = "\n".join([*hit.present, *(f"{name}?" for name in hit.uncertain)])
        report = (hit.report["impression"] or hit.report["findings"])[:_REPORT_CHARACTERS]
        table.add_row(str(rank), f"{hit.score:.3f}", parts, f"{hit.study_id}\n{hit.view}", findings, report)
    console = Console()
    if result.hits:
        console.print(table)
    else:
        console.print(_explain_no_hits(result), markup=False)
    for name, counts in result.facets.items():
        listed = ", ".join(f"{value or 'none'} {count:,}" for value, count in counts.items())
        console.print(f"{name}: {listed or 'no values'}", markup=False, highlight=False)


def _explain_no_hits(result: SearchResult) -> str:
    if result.interpreted["filters"]:
        return f"No case matches all filters ({_describe_query(result)}); remove one."
    if result.interpreted.get("match") == "bm25":
        return "No report contains these words; use other words, or --match dense."
    return f"No case found ({_describe_query(result)})."


def _describe_query(result: SearchResult) -> str:
    """The filters as interpreted, and the time of each stage."""
    stages = ", ".join(f"{stage} {elapsed:.1f} ms" for stage, elapsed in result.timings_ms.items())
    filters = ", ".join(f"{name}={value}" for name, value in result.interpreted["filters"].items()) or "none"
    unread = result.interpreted.get("unread")
    note = f" · not used as a filter, because it names no known finding: {', '.join(unread)}" if unread else ""
    if not result.interpreted.get("english", True):
        note = " · the text is not English, so it was not read for findings"
    return f"filters: {filters}{note} · {stages}"
