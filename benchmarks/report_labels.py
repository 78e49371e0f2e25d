"""Scores labels read from reports against sentences labelled by hand, and against the indexing of Indiana.

    python -m benchmarks.report_labels --data ../shared/indiana

Precision and recall are over pairs of phrase and finding, by status. The rules were written with the first table; the second
was drawn and labelled after the rules were frozen. The third, `other_styles`, has styles that the collection does not have.
It was split in two before any rule was changed for it; `--final` also scores the half for the final figure. Agreement with
the indexing is not accuracy: the indexers left out minor findings, and also judged the images.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.indiana import add_data_option, indiana_source
from benchmarks.label_scoring import STATUSES, Agreement, compare, heads_of, is_final, score_phrases
from benchmarks.pair_retrieval import NOT_FINDINGS
from benchmarks.result_file import write_result
from retrieval.labels import read_indexing, read_report
from retrieval.labels.finding_words import WORDS_OF_HEAD
from retrieval.records import studies_of

TABLES = Path(__file__).parent.parent / "tests" / "retrieval" / "labels"
FEWEST = 5


def main() -> None:
    """Score the tables; with the collection, also agreement and speed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_option(parser)
    parser.add_argument("--final", action="store_true", help="also score the final half of other_styles")
    arguments = parser.parse_args()
    found: dict[str, Any] = {
        name: score_rows(read_table(name)) for name in ("labelled_sentences", "held_out_sentences")
    }
    other = read_table("other_styles")
    found["other_styles_tuning"] = score_rows([row for row in other if not is_final(row["phrase"])])
    if arguments.final:
        found["other_styles_final"] = score_rows([row for row in other if is_final(row["phrase"])])
    if arguments.data.is_dir():
        found["indexing"] = beside_indexing(arguments.data)
    write_result("report_labels", found)


def read_table(name: str) -> list[dict[str, str]]:
    """The rows of a table of labelled phrases."""
    with (TABLES / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def score_rows(rows: list[dict[str, str]]) -> dict[str, Any]:
    """Figures by status, and by finding if it occurs often enough."""
    by_finding: dict[str, Agreement] = {}
    for row in rows:
        read = heads_of(row["phrase"])
        for status in STATUSES:
            given = set(filter(None, row[status].split(";")))
            for head in given | read[status]:
                one = compare(read[status] & {head}, given & {head})
                by_finding[head] = by_finding.get(head, Agreement()) + one
    return {
        "phrases": len(rows),
        **{status: _figures(score) for status, score in score_phrases(rows).items()},
        "by_finding": {
            head: _figures(score) for head, score in sorted(by_finding.items()) if score.both + score.missed >= FEWEST
        },
    }


def beside_indexing(data: Path) -> dict[str, Any]:
    """Agreement of findings present in the text and in the indexing, over studies with both, for heads with terms."""
    source = indiana_source(data)
    studies = [study for study in studies_of(source) if study.report.group]
    start = time.perf_counter()
    texts = [read_report(study.report.findings, study.report.impression) for study in studies]
    elapsed = time.perf_counter() - start
    by_finding = dict.fromkeys(WORDS_OF_HEAD, Agreement())
    indexed = 0
    for study, text in zip(studies, texts, strict=True):
        given = {*read_indexing(study.mesh, study.problems).problems}
        if not given or given & (NOT_FINDINGS - {"normal"}):
            continue
        indexed += 1
        for head in by_finding:
            by_finding[head] += compare({head} & {*text.present}, {head} & given)
    frequent = {head: score for head, score in by_finding.items() if score.both + score.missed >= FEWEST}
    return {
        "studies": indexed,
        "reports_per_s": round(len(studies) / elapsed),
        "macro_precision": round(fmean(s.precision for s in frequent.values() if s.both + s.extra), 3),
        "macro_recall": round(fmean(score.recall for score in frequent.values()), 3),
        "by_finding": {
            head: _figures(score)
            for head, score in sorted(frequent.items(), key=lambda item: -item[1].both - item[1].missed)
        },
    }


def _figures(score: Agreement) -> dict[str, Any]:
    return {
        "n": score.both + score.missed,
        "precision": round(score.precision, 3) if score.both + score.extra else None,
        "recall": round(score.recall, 3) if score.both + score.missed else None,
    }


if __name__ == "__main__":
    main()
