"""Agreement with phrases of other reporting styles that were labelled by hand."""

import csv
from pathlib import Path

from benchmarks.label_scoring import STATUSES, is_final, score_phrases
from retrieval.labels.assertions import read_assertions

# Just below the measured figures of the half on which the rules were tuned (benchmarks/results/report_labels.json).
FLOORS = {"present": (0.97, 0.97), "uncertain": (0.95, 0.95), "absent": (0.98, 0.95)}


def test_agreement_with_labelled_sentences_of_other_styles():
    with (Path(__file__).parent / "other_styles.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 300
    tuned = [row for row in rows if not is_final(row["phrase"])]
    assert abs(len(tuned) - len(rows) / 2) < 20
    for status, score in score_phrases(tuned).items():
        assert score.precision >= FLOORS[status][0], status
        assert score.recall >= FLOORS[status][1], status


def test_no_labelled_phrase_gives_a_finding_two_statuses():
    with (Path(__file__).parent / "other_styles.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            given = [head for status in STATUSES for head in row[status].split(";") if head]
            assert len(given) == len(set(given)), row["phrase"]
            assert all(each.head for each in read_assertions(row["phrase"]))
