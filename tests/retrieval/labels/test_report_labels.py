"""Labels from the text of reports and queries: single rules, and agreement with sentences labelled by hand."""

import csv
from pathlib import Path

import pytest

from benchmarks.label_scoring import STATUSES, score_phrases
from ingest.labels.study import label_study
from retrieval.labels import find_mentions, read_report
from retrieval.labels.assertions import read_assertions

HERE = Path(__file__).parent


def read(sentence):
    return {(each.head, each.status) for each in read_assertions(sentence)}


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        # negations: what they reach, and where they end
        ("No pleural effusion or pneumothorax.", {("Pleural Effusion", "absent"), ("Pneumothorax", "absent")}),
        ("No effusion, pneumothorax, or edema.", {(f, "absent") for f in ("Pleural Effusion", "Pneumothorax", "Pulmonary Edema")}),
        ("Pneumothorax is not seen.", {("Pneumothorax", "absent")}),
        ("The effusion has resolved.", {("Pleural Effusion", "absent")}),
        ("Negative for pneumonia.", {("Pneumonia", "absent")}),
        ("No pneumothorax but a small effusion.", {("Pneumothorax", "absent"), ("Pleural Effusion", "present")}),
        # pseudo-negations
        ("No change in the right effusion.", {("Pleural Effusion", "present")}),
        ("The effusion is not resolved.", {("Pleural Effusion", "present")}),
        # uncertainty
        ("Possible left lower lobe pneumonia.", {("Pneumonia", "uncertain")}),
        ("Opacity may represent atelectasis.", {("Opacity", "present"), ("Pulmonary Atelectasis", "uncertain")}),
        ("Pneumonia cannot be excluded.", {("Pneumonia", "uncertain")}),
        ("Atelectasis versus infiltrate.", {("Pulmonary Atelectasis", "uncertain"), ("Infiltrate", "uncertain")}),
        ("Pneumonia?", {("Pneumonia", "uncertain")}),
        ("? pneumonia", {("Pneumonia", "uncertain")}),
        ("Left basilar opacity, ?developing right middle lobe pneumonia.", {("Opacity", "present"), ("Pneumonia", "uncertain")}),
        ("Opacity ? atelectasis", {("Opacity", "present"), ("Pulmonary Atelectasis", "uncertain")}),
        ("Opacity (atelectasis?), small effusion", {("Opacity", "present"), ("Pulmonary Atelectasis", "uncertain"), ("Pleural Effusion", "present")}),
        ("No effusion ? pneumonia", {("Pleural Effusion", "absent"), ("Pneumonia", "uncertain")}),
        ("Is there a pneumothorax? Small effusion.", {("Pneumothorax", "uncertain"), ("Pleural Effusion", "present")}),
        ("? enlarged heart", {("Cardiomegaly", "uncertain")}),
        ("No pneumothorax?", {("Pneumothorax", "absent")}),
        # structures
        ("The heart is enlarged.", {("Cardiomegaly", "present")}),
        ("Heart size is normal.", {("Cardiomegaly", "absent")}),
        ("Heart size is borderline enlarged.", {("Cardiomegaly", "uncertain")}),
        ("Osseous structures are intact.", {("Fractures, Bone", "absent")}),
        # not stated
        ("History of pneumonia.", set()),
        ("Evaluate for effusion.", {("Pleural Effusion", "uncertain")}),
    ],
)  # fmt: skip
def test_the_status_of_a_finding_in_a_sentence(sentence, expected):
    assert expected <= read(sentence)
    assert {head for head, _ in read(sentence)} == {head for head, _ in expected}


def test_side_and_severity_are_those_of_the_same_mention():
    labels = label_study("", "", "Small left pleural effusion. Right lung mass.", "")
    assert {"Pleural Effusion/left", "Pleural Effusion/small", "Mass/right"} <= set(labels.qualified)
    assert "Mass/left" not in labels.qualified
    assert set(labels.sides) == {"left", "right"}
    assert labels.severities == ("small",)


def test_a_finding_that_one_sentence_affirms_is_present():
    text = read_report("No effusion on the right. Small left effusion.", "Possible pneumonia.")
    assert "Pleural Effusion" in text.present
    assert "Pleural Effusion" not in text.absent
    assert "Pneumonia" in text.uncertain


def test_the_indexing_has_precedence_and_the_text_adds_to_it():
    labels = label_study(
        "Cardiomegaly/borderline", "Cardiomegaly", "The heart is enlarged. No effusion. Left opacity.", ""
    )
    assert "Cardiomegaly" in labels.uncertain
    assert "Opacity" in labels.present
    assert "Pleural Effusion" in labels.absent
    assert labels.problems == ("Cardiomegaly",)
    assert labels.mesh == ("Cardiomegaly", "Cardiomegaly/borderline")
    assert "Cardiomegaly" in labels.from_indexing
    assert "Cardiomegaly" not in labels.from_text
    assert {"Opacity", "Pleural Effusion"} <= set(labels.from_text)
    assert not {"Opacity", "Pleural Effusion"} & set(labels.from_indexing)


def test_findings_of_the_text_are_uncertain_if_the_indexing_says_normal():
    labels = label_study("normal", "normal", "Small nodule.", "No acute disease.")
    assert "normal" in labels.present
    assert "Nodule" in labels.uncertain
    assert "Nodule" in labels.from_text


@pytest.mark.parametrize("field", ["", "No Indexing"])
def test_a_study_without_indexing_is_labelled_by_its_text(field):
    labels = label_study(field, field, "Heart size normal. No effusion. No pneumothorax.", "")
    assert labels.present == ("No Finding",)
    assert {"Cardiomegaly", "Pleural Effusion", "Pneumothorax"} <= set(labels.absent)
    assert label_study(field, field, "Mild cardiomegaly.", "").present[0] == "Cardiomegaly"
    silent = label_study(field, field, "", "")
    assert silent.present == silent.uncertain == silent.absent == ()
    assert label_study(field, field, "No effusion.", "").present == ()


def test_no_name_has_two_statuses_on_any_labelled_sentence():
    for row in rows("labelled_sentences"):
        labels = label_study("", "", row["phrase"], "")
        names = [*labels.present, *labels.uncertain, *labels.absent]
        assert len(names) == len(set(names))


def rows(table):
    with (HERE / f"{table}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


# Just below the measured figures (benchmarks/results/report_labels.json): precision and recall by status.
FLOORS = {
    "labelled_sentences": {"present": (0.97, 0.97), "uncertain": (0.96, 0.93), "absent": (0.96, 0.98)},
    "held_out_sentences": {"present": (0.96, 0.90), "uncertain": (0.99, 0.99), "absent": (0.95, 0.98)},
}


@pytest.mark.parametrize(("table", "fewest"), [("labelled_sentences", 150), ("held_out_sentences", 50)])
def test_agreement_with_sentences_labelled_by_hand(table, fewest):
    phrases = rows(table)
    assert len(phrases) >= fewest
    scores = score_phrases(phrases)
    for status in STATUSES:
        precision, recall = FLOORS[table][status]
        assert scores[status].precision >= precision
        assert scores[status].recall >= recall


@pytest.mark.parametrize("row", rows("negation_queries"), ids=lambda row: row["query"])
def test_queries_ask_for_and_deny_the_labelled_findings(row):
    mentions = find_mentions(row["query"])
    assert set(mentions.denied) == set(filter(None, row["denied"].split(";")))
    assert set(mentions.asked) == set(filter(None, row["asked"].split(";")))


def test_at_least_forty_labelled_queries_deny_a_finding():
    assert sum(bool(row["denied"]) for row in rows("negation_queries")) >= 40


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("No edema.", False),
        ("The endotracheal tube has been removed.", False),
        ("No effusion. The chest tube has been removed.", False),
        ("No edema or effusion.", True),
        ("The lungs are clear.", True),
    ],
)
def test_no_finding_needs_two_negated_heads_that_are_not_devices(text, normal):
    assert ("No Finding" in label_study("", "", text, "").present) is normal
