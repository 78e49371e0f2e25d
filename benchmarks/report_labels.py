"""Labels from report text against sentences labelled by hand, and beside the indexing of the whole Indiana collection.

    python -m benchmarks.report_labels --data ../shared/indiana

Precision and recall are over pairs of phrase and finding, by status. The rules were written with the first table in view;
the second was drawn and labelled after they were frozen. The third, `other_styles`, was written for styles that the
collection does not have, and split in two before any rule was changed for it; `--final` scores the half kept for the final
figure, too. Agreement with the indexing is no accuracy: the indexers left out what they thought of no account, and judged
images, too.
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
from benchmarks.record import write_result
from retrieval.labels import read_indexing, read_report
from retrieval.labels.finding_words import WORDS_OF_HEAD
from retrieval.records import studies_of

TABLES = Path(__file__).parent.parent / "tests" / "retrieval" / "labels"
FEWEST = 5


def main() -> None:
    """Score both tables; with the collection there, agreement and speed, too."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_option(parser)
    parser.add_argument("--final", action="store_true", help="score the final half of other_styles, too")
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
    """Figures by status, and by finding where it is named often enough."""
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
    """Present in the text beside present in the indexing, over studies that have both, for the heads that have words."""
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
