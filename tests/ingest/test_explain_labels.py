"""The explanation of labels: the same reading as the labels, with the trigger, its scope and the text that is not read."""

import csv
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archives.report_sections import split_report
from ingest.labels.explain import explain_query, explain_report
from ingest.labels.explanation import KNOWN_MISREADINGS
from retrieval.labels import find_mentions, read_report
from retrieval.labels.assertions import read_assertions
from retrieval.labels.language import is_english
from retrieval.records import Report
from tests.retrieval.labels.sentence_parts import texts

LABEL_TABLES = Path(__file__).parents[1] / "retrieval" / "labels"


def explain(findings, impression=""):
    return explain_report(Report(findings=findings, impression=impression))


def mentions(explanation):
    return [mention for sentence in explanation.sentences for mention in sentence.mentions]


def only_mention(text):
    (mention,) = mentions(explain(text))
    return mention


@pytest.mark.parametrize(
    ("text", "status", "rule", "trigger"),
    [
        ("No effusion.", "absent", "pre_negation", "no"),
        ("Effusion has resolved.", "absent", "post_negation", "has resolved"),
        ("Effusion is excluded.", "absent", "post_negation", "is excluded"),
        ("Effusion: none.", "absent", "negative_answer", "none"),
        ("Absent effusion.", "absent", "bidirectional_negation", "absent"),
        ("Possible effusion.", "uncertain", "pre_uncertainty", "possible"),
        ("Effusion cannot be excluded.", "uncertain", "post_uncertainty", "cannot be excluded"),
        ("Effusion?", "uncertain", "question_mark", "?"),
        ("Treated for effusion.", None, "hypothetical", "treated for"),
        ("Effusion cannot be assessed.", None, "not_assessable", "cannot be assessed"),
        ("No change in the effusion.", "present", "named", None),
        ("Effusion.", "present", "named", None),
        ("The heart is enlarged.", "present", "structure", None),
        ("The heart is not enlarged.", "absent", "structure", None),
    ],
)
def test_a_mention_names_the_rule_and_the_trigger_that_set_its_status(text, status, rule, trigger):
    mention = only_mention(text)
    assert (mention.status, mention.rule) == (status, rule)
    assert (mention.trigger.text if mention.trigger else None) == trigger
    assert mention.reason.endswith(f"it is {status or 'not stated, so it gets no label'}.")


def test_a_scope_ends_where_a_termination_stands():
    (sentence,) = explain("No effusion or edema but a nodule.").sentences
    no, but = sentence.triggers
    assert (no.text, no.kind, no.effect, no.direction, no.ended_by) == (
        "no",
        "pre_negation",
        "absent",
        "forward",
        "but",
    )
    assert sentence.text[no.scope_start : no.scope_end] == " effusion or edema "
    assert (but.kind, but.effect) == ("termination", "")
    effusion, edema, nodule = sentence.mentions
    assert effusion.trigger == edema.trigger == no
    assert nodule.trigger is None


def test_a_backward_scope_covers_the_list_before_the_trigger():
    (sentence,) = explain("Effusion and edema have resolved.").sentences
    (resolved,) = sentence.triggers
    assert (resolved.direction, sentence.text[resolved.scope_start : resolved.scope_end]) == (
        "backward",
        "effusion and edema ",
    )


def test_a_pseudo_negation_is_listed_without_an_effect():
    (sentence,) = explain("No change in the effusion.").sentences
    assert [(trigger.text, trigger.kind, trigger.effect) for trigger in sentence.triggers] == [
        ("no change in", "pseudo_negation", "")
    ]


def test_a_mention_has_its_side_its_severity_and_its_chexpert_name():
    mention = only_mention("Small left pulmonary edema.")
    assert (mention.side, mention.severity, mention.observations) == ("left", "small", ("Edema",))


def test_the_result_of_the_report_may_differ_from_the_status_in_a_sentence():
    first, second = mentions(explain("No effusion on the right. Effusion on the left."))
    assert (first.status, first.result) == ("absent", "present")
    assert (second.status, second.result) == ("present", "present")


def test_sections_that_are_not_read_come_with_their_reason():
    report = split_report(
        Report(findings="INDICATION: Rule out pneumonia. FINDINGS: No effusion. // edema? IMPRESSION: Clear lungs.")
    )
    explanation = explain_report(report)
    assert [(each.section, each.text) for each in explanation.omitted] == [
        ("indication", "Rule out pneumonia."),
        ("findings", "// edema?"),
    ]
    assert all(each.reason.endswith(".") for each in explanation.omitted)
    assert {sentence.section for sentence in explanation.sentences} == {"findings", "impression"}


def test_text_in_another_language_is_refused_and_says_so():
    for explanation in (explain("Pas de pneumothorax."), explain_query("Pas de pneumothorax.")):
        assert not explanation.is_english
        assert explanation.sentences == ()
        assert explanation.note.startswith("The text is not English.")
        assert [each.text for each in explanation.omitted] == ["Pas de pneumothorax."]


def test_a_query_says_what_it_asks_for_and_what_it_denies():
    explanation = explain_query("cardiomegaly, no left effusion, no pnumothorax")
    assert [(each.finding, each.result, each.side) for each in mentions(explanation)] == [
        ("Cardiomegaly", "asked", ""),
        ("Pleural Effusion", "denied", "left"),
    ]
    assert explanation.labels["unread"] == ("no pnumothorax",)


def test_the_document_holds_the_whole_explanation():
    found = msgspec.json.decode(msgspec.json.encode(explain("No effusion.", "Edema.")))
    assert found["dialect"] == "report"
    assert [sentence["section"] for sentence in found["sentences"]] == ["findings", "impression"]
    assert found["sentences"][0]["mentions"][0]["trigger"]["kind"] == "pre_negation"
    assert found["labels"]["present"] == ["Pulmonary Edema", "Edema"]


def assert_agrees(text):
    explanation = explain(text)
    if not is_english(f"{text}\n"):
        assert not explanation.is_english
        return
    labels = read_report(text)
    assert explanation.labels["present"] == labels.present
    assert explanation.labels["absent"] == labels.absent
    explained = [(each.finding, each.status, each.side, each.severity) for each in mentions(explanation) if each.status]
    assert explained == [(each.head, each.status, each.side, each.severity) for each in read_assertions(text)]
    for sentence in explanation.sentences:
        for mention in sentence.mentions:
            assert sentence.text[mention.start : mention.end] == mention.text
        for trigger in sentence.triggers:
            assert sentence.text[trigger.start : trigger.end] == trigger.text
            assert 0 <= trigger.scope_start <= trigger.scope_end <= len(sentence.text)


@settings(max_examples=150, deadline=None)
@given(texts())
def test_the_explanation_agrees_with_the_labels_for_any_report(text):
    assert_agrees(text)


@settings(max_examples=100, deadline=None)
@given(texts())
def test_the_explanation_agrees_with_the_mentions_of_any_query(text):
    explanation, found = explain_query(text), find_mentions(text)
    assert (explanation.labels["asked"], explanation.labels["denied"]) == (found.asked, found.denied)
    if found.english:
        named = {mention.finding for mention in mentions(explanation) if mention.result == "asked"}
        assert named == set(found.asked)


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=300))
def test_any_text_can_be_explained(text):
    assert_agrees(text)
    explain_query(text)


@pytest.mark.parametrize("table", ["labelled_sentences", "held_out_sentences", "other_styles"])
def test_the_explanation_agrees_with_the_labels_of_the_tables(table):
    with (LABEL_TABLES / f"{table}.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            assert_agrees(row["phrase"])


# What a reader would label, of the sentences that are known to be misread.
RIGHT = [
    ("Catheters, Indwelling", "present"),
    ("Pleural Effusion", "present"),
    ("Airspace Disease", "absent"),
    ("Pneumonia", "absent"),
    ("Pulmonary Edema", "uncertain"),
    ("Cardiomegaly", "absent"),
    ("Pulmonary Atelectasis", "present"),
    ("Pulmonary Edema", ""),
]


@pytest.mark.parametrize(("known", "right"), list(zip(KNOWN_MISREADINGS, RIGHT, strict=True)))
def test_known_misreadings_are_still_misread(known, right):
    labels = read_report(known[0])
    head, status = right
    found = next((name for name in ("present", "uncertain", "absent") if head in getattr(labels, name)), "")
    assert found != status


def test_a_trigger_without_a_finding_in_its_scope_has_no_effect():
    (sentence,) = explain("Effusion, but now removed.").sentences
    removed = sentence.triggers[-1]
    assert (removed.text, removed.kind, removed.effect) == ("removed", "post_negation", "")
