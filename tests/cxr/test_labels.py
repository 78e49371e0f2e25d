"""`cxr labels` prints the findings of a text by status, and with `--explain` what set each status."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

import cxr.main
from retrieval.errors import InvalidRequest
from retrieval.labels import read_report

REPORT = "FINDINGS: No effusion or pneumothorax. No increase in heart size. IMPRESSION: Possible left atelectasis."


def run(*words: str, stdin: str | None = None) -> str:
    result = CliRunner().invoke(cxr.main.app, ["labels", *words], input=stdin)
    if result.exception:
        raise result.exception
    return result.stdout


def document(*words: str) -> Any:
    return json.loads(run(*words, "--json"))


def test_a_report_is_read_by_section_as_an_ingest_reads_it() -> None:
    found = document(REPORT)
    labels = read_report("No effusion or pneumothorax. No increase in heart size.", "Possible left atelectasis.")
    assert found["labels"] == {
        "present": [],
        "uncertain": list(labels.uncertain),
        "absent": list(labels.absent),
        "qualified": list(labels.qualified),
    }
    assert "Pneumothorax" in found["labels"]["absent"] and "Atelectasis" in found["labels"]["uncertain"]
    assert set(found) == {"dialect", "is_english", "labels", "note"}


def test_explain_names_the_trigger_and_the_rule_of_each_finding() -> None:
    found = document("--explain", REPORT)
    by_finding = {mention["finding"]: mention for each in found["sentences"] for mention in each["mentions"]}
    effusion = by_finding["Pleural Effusion"]
    assert (effusion["status"], effusion["rule"], effusion["trigger"]["text"]) == ("absent", "pre_negation", "no")
    assert by_finding["Pulmonary Atelectasis"]["rule"] == "pre_uncertainty"
    shown = run("--explain", REPORT)
    assert "pre_negation" in shown and "Pleural Effusion" in shown
    assert '"no increase in" (pseudo_negation) has no effect here.' in shown
    assert "pre_negation" not in run(REPORT)


def test_a_query_is_read_for_what_it_asks_for_and_denies() -> None:
    found = document("--query", "cardiomegaly without pulmonary edema")
    assert found["labels"]["asked"] == ["Cardiomegaly"]
    assert found["labels"]["denied"] == ["Pulmonary Edema"]


def test_text_that_is_not_english_is_not_read_and_the_output_says_so() -> None:
    found = document("Kein Erguss, keine Stauung. Die Lunge ist frei und das Herz nicht vergrößert.")
    assert not found["is_english"]
    assert found["labels"] == {}
    assert "not English" in run("Kein Erguss, keine Stauung. Die Lunge ist frei und das Herz nicht vergrößert.")


def test_a_dash_reads_stdin_and_an_empty_text_is_refused() -> None:
    assert "Pneumothorax" in run("-", stdin="Large pneumothorax.")
    with pytest.raises(InvalidRequest, match="empty"):
        run("-", stdin=" \n")


def test_brackets_in_a_report_are_text_and_not_markup() -> None:
    assert "Opacity" in run("--explain", "There is opacity [/b] on the left.")
