"""Report texts with headings are split into sections, and history gives no labels."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from archives.dicom.accession_numbers import AccessionNumbers
from archives.dicom.report_table import ReportTable
from archives.dicom.structured_report_text import read_structured_report
from archives.report_sections import split_report
from archives.tables.source import TableSource
from ingest.labels.study import label_study
from retrieval.progress import NoProgress
from retrieval.records import Report, Study

MIMIC = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PORTABLE AP)

 INDICATION:  ___ year old man with pneumothorax  // eval for pneumonia

 TECHNIQUE:  Single AP view to exclude effusion

 COMPARISON:  Chest radiograph with large effusion from ___.

 FINDINGS:

 The lungs are clear.  Heart size
 is normal.

 IMPRESSION:

 No acute cardiopulmonary process.

 RECOMMENDATION(S):  CT to exclude a mass.

 NOTIFICATION:  The pneumothorax was discussed with Dr. ___ at 3:45 pm.
"""


def split(text: str) -> Report:
    return split_report(Report(findings=text))


def test_a_report_in_the_style_of_mimic() -> None:
    assert split(MIMIC) == Report(
        "The lungs are clear.  Heart size\n is normal.",
        "No acute cardiopulmonary process.",
        "___ year old man with pneumothorax  // eval for pneumonia",
        "Chest radiograph with large effusion from ___.",
    )
    assert split(MIMIC.replace("\n", "\r\n")) == split(MIMIC.replace("\n", "<br/>")) == split(MIMIC)


@pytest.mark.parametrize(
    ("text", "findings", "impression", "indication"),
    [
        # on one line, in any case, with other marks
        ("HISTORY: Cough, pneumonia. FINDINGS: Clear.", "Clear.", "", "Cough, pneumonia."),
        ("history: cough. findings: clear. impression: normal.", "clear.", "normal.", "cough."),
        ("History - cough\nFindings – clear\nConclusion — normal", "clear", "normal", "cough"),
        ("Reason for exam: pneumonia // r/o edema FINDINGS: Clear.", "Clear.", "", "pneumonia // r/o edema"),
        ("REASON FOR THIS EXAMINATION:\n pneumonia\nFINDINGS AND IMPRESSION: Clear.", "Clear.", "", "pneumonia"),
        ("HISTORY Pneumonia FINDINGS Lungs are clear IMPRESSION Normal", "Lungs are clear", "Normal", "Pneumonia"),
        ("**History:** edema\n**Findings** clear\n## Impression\nnormal", "clear", "normal", "edema"),
        ("<b>History:</b> edema<br><b>Findings:</b> clear", "clear", "", "edema"),
        ("<INDICATION>edema</INDICATION><FINDINGS>clear</FINDINGS>", "clear", "", "edema"),
        ("[Indication] edema [Findings] clear [Impression] normal", "clear", "normal", "edema"),
        (r"INDICATION: edema\nFINDINGS: clear", "clear", "", "edema"),
        # British
        ("Clinical details: ?edema\nReport:\nClear.\nOpinion: Normal.", "Clear.", "Normal.", "?edema"),
        ("Clinical information\n? edema\n\nReport\nClear.", "Clear.", "", "? edema"),
        ("Clinical Indication: edema. CXR: Clear.", "CXR: Clear.", "", "edema."),
        # findings without a heading
        ("INDICATION: edema\n\nThe lungs are clear.\n\nIMPRESSION: Normal.", "The lungs are clear.", "Normal.", "edema"),
        ("INDICATION: edema\nPORTABLE AP CHEST, 3:45 P.M.: Clear.", "PORTABLE AP CHEST, 3:45 P.M.: Clear.", "", "edema"),
        ("HISTORY: edema\nLungs: Clear.\nHeart: Normal.", "Lungs: Clear.\nHeart: Normal.", "", "edema"),
        ("TECHNIQUE: AP and lateral. The lungs are clear.", "The lungs are clear.", "", ""),
        ("Small effusion. Comparison: None. Heart enlarged.", "Small effusion.\nHeart enlarged.", "", ""),
        ("Clear lungs. IMPRESSION: Normal.", "Clear lungs.", "Normal.", ""),
        # text before FINDINGS is the indication or a title
        ("72M, fever and pneumonia.\nFINDINGS: Clear.", "Clear.", "", "72M, fever and pneumonia."),
        # a preliminary reading is used if there is no other
        ("WET READ: edema\nFINAL REPORT\nFINDINGS: Clear.", "Clear.", "", ""),
        ("WET READ: edema", "edema", "", ""),
        ("FINDINGS: Clear.\nADDENDUM: Small effusion.", "Clear.", "Small effusion.", ""),
    ],
)  # fmt: skip
def test_headings_split_a_text(text: str, findings: str, impression: str, indication: str) -> None:
    found = split(text)
    assert (found.findings, found.impression, found.indication) == (findings, impression, indication)


@pytest.mark.parametrize(
    "text",
    [
        "Moderate effusion.", "Lungs: clear. Heart: enlarged.", "Effusion: none\nPneumothorax: small",
        "The findings: no effusion: unchanged", "Compared with the prior film the effusion is smaller.",
        "CHEST, 2 VIEWS: Clear.", "Effusion. FINDINGS COULD REPRESENT EDEMA.", "", "Comparison with prior: better.",
    ],
)  # fmt: skip
def test_a_text_without_headings_stays_findings(text: str) -> None:
    assert split(text) == Report(findings=text)


def test_each_field_obeys_its_headings_and_says_nothing_twice() -> None:
    whole = "FINDINGS: Clear.\nIMPRESSION: Normal."
    assert split_report(Report("Clear.", whole, "Cough.")) == Report("Clear.", "Normal.", "Cough.")
    assert split_report(Report("", "Normal. Recommendation: CT to exclude a mass.")) == Report("", "Normal.")
    assert split_report(Report("Clear.", "Normal.", "FINDINGS: none")) == Report("Clear.", "Normal.", "FINDINGS: none")


OTHER = ["INDICATION", "HISTORY", "Clinical History", "REASON FOR EXAM", "Clinical information", "TECHNIQUE", "EXAMINATION",
         "Comparison", "COMPARISON STUDY", "Previous findings", "RECOMMENDATION", "Notification", "Study"]  # fmt: skip
SAID = [
    "Pneumothorax.",
    "Large effusion and pneumonia",
    "// evaluate for edema",
    "Fracture? Pneumonia.",
    "CHF, nodule, mass.",
]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(OTHER), st.sampled_from(SAID)), max_size=4),
    st.lists(st.tuples(st.sampled_from(OTHER), st.sampled_from(SAID)), max_size=2),
    st.sampled_from(
        ["FINDINGS", "Findings", "Report", "Impression", "IMPRESSION", "CONCLUSION", "Findings and Impression"]
    ),
    st.sampled_from([": ", ":\n", ":  ", " :\t"]),
    st.sampled_from(["\n", "\n\n", "\r\n", "\r\n\r\n", "<br>", "\n \n"]),
)
def test_only_findings_and_impression_make_labels(
    before: list[tuple[str, str]], after: list[tuple[str, str]], heading: str, colon: str, line: str
) -> None:
    parts = [*before, (heading, "Heart is enlarged. No granuloma."), *after]
    found = split(line.join(f"{name}{colon}{said}" for name, said in parts))
    labels = label_study("", "", found.findings, found.impression)
    assert (labels.present, labels.uncertain, labels.absent) == (("Cardiomegaly",), (), ("Granuloma",))


@pytest.mark.parametrize(
    "text",
    ["past " * 9_000, "lines," * 9_000, "_" * 50_000, "\n \t" * 15_000, "History: " * 6_000, "AP CHEST " * 6_000,
     "Comparison: " + ", " * 20_000, "<b" * 20_000, "final " * 9_000],
)  # fmt: skip
def test_hostile_texts_are_split_in_a_moment(text: str) -> None:
    split(text)  # quadratic time would take minutes


def test_sources_split_whole_reports(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    for column in ("report", "findings", "impression"):
        with (tmp_path / "table.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("image", column), ("a.png", MIMIC)])
        (study,) = TableSource(tmp_path / "table.csv", images_dir=None, columns={}, dataset="own")
        assert isinstance(study, Study)
        assert (study.report.findings, study.report.indication) == (split(MIMIC).findings, split(MIMIC).indication)
    with (tmp_path / "reports.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("StudyInstanceUID", "findings"), ("1.2.3", MIMIC)])
    attached, _ = ReportTable(tmp_path / "reports.csv").match({"1.2.3"}, AccessionNumbers(), NoProgress())
    assert attached["1.2.3"].report == split(MIMIC)
    item = Dataset()
    item.RelationshipType, item.ValueType, item.TextValue = "CONTAINS", "TEXT", MIMIC
    assert read_structured_report([item]).report.findings == "The lungs are clear. Heart size is normal."


@pytest.mark.parametrize("word", ["Prior", "Previous", "Remote", "Social", "Family", "Interval", "Past medical"])
def test_histories_are_indication(word):
    report = split_report(Report(findings=f"{word} history: pneumothorax.\nFindings: Clear lungs."))
    assert (report.indication, report.findings) == ("pneumothorax.", "Clear lungs.")


def test_a_view_in_a_line_begins_the_findings():
    report = split_report(Report(findings="HISTORY: Cough. CHEST, TWO VIEWS: No effusion. IMPRESSION: Normal."))
    assert (report.indication, report.impression) == ("Cough.", "Normal.")
    assert "No effusion." in report.findings
