"""Structured reports: headings, addenda, and documents that are no reports."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from archives.dicom.structured_report_text import read_structured_report
from retrieval.records import Report
from tests.archives.dicom_tree import BIG, Ward, item, section, structured_report


def named(code: str, meaning: str) -> Sequence:
    name = Dataset()
    name.CodeValue, name.CodingSchemeDesignator, name.CodeMeaning = code, "LN", meaning
    return Sequence([name])


@pytest.mark.parametrize(
    "heading",
    [("55107-7", "Addendum"), ("55107-7", ""), ("1", "Addendum to prior report"), ("1", "Nachtrag"), ("9", "Addenda")],
)
@pytest.mark.parametrize("as_container", [True, False])
def test_an_addendum_belongs_to_the_impression(heading: tuple[str, str], as_container: bool) -> None:
    text = "New left pneumothorax."
    addendum = section(heading[1], text, heading[0]) if as_container else item("TEXT", heading, text)
    content = [section("Findings", "Lungs clear."), section("Impression", "Normal."), addendum]
    found = read_structured_report(content)
    assert found.report == Report("Lungs clear.", f"Normal. {text}")
    assert not found.has_unknown_headings


def test_an_addendum_in_a_separate_document_is_added_to_the_report(ward: Ward) -> None:
    ward.film(1)
    title = {"ConceptNameCodeSequence": named("55107-7", "Imaging Addendum Report")}
    for name, text in (("a-late", "Second addendum."), ("b-later", "Third.")):
        content = [item("TEXT", None, text)]
        ward.add(name, structured_report(content, StudyInstanceUID="1.2.3.1", AccessionNumber=None, **title))
    ward.sr(1, "Clear.", VerificationFlag="VERIFIED")
    (study,), listed = ward.read()
    assert (study.report, listed) == (Report("Clear.", "Second addendum. Third."), [])


@pytest.mark.parametrize(
    ("heading", "report"),
    [
        ("Befund", Report("Text.")),
        ("Radiologischer Befund", Report("Text.")),
        ("Hallazgos", Report("Text.")),
        ("Résultats", Report("Text.")),
        ("Beurteilung", Report(impression="Text.")),
        ("Impresión diagnóstica", Report(impression="Text.")),
        ("CONCLUSIÓN", Report(impression="Text.")),
        ("Fragestellung", Report(indication="Text.")),
        ("Indicación", Report(indication="Text.")),
        ("Indicação clínica", Report(indication="Text.")),
        ("Voraufnahmen", Report(comparison="Text.")),
        ("Radiologist's interpretation", Report("Text.")),
        ("Verified report findings", Report("Text.")),
        ("Historia clínica", Report(indication="Text.")),
        ("Recommendations", Report()),
        ("Técnica", Report()),
        ("Patientenname", Report()),
        ("Nombre del paciente", Report()),
        ("Geburtsdatum", Report()),
        ("Subject ID", Report()),
        ("Radiologist", Report()),
    ],
)
def test_headings_of_other_languages_are_known_and_those_of_people_left_out(heading: str, report: Report) -> None:
    found = read_structured_report([section(heading, "Text.")])
    assert (found.report, found.has_unknown_headings) == (report, False)


@pytest.mark.parametrize("heading", ["Löydökset", "所見", "Wynik", "Miscellaneous remarks"])
def test_text_under_an_unknown_heading_is_read_as_findings_and_noted(ward: Ward, heading: str) -> None:
    ward.film(1)
    content = [section(heading, BIG), section("Impression", "See above.")]
    elements = {"SpecificCharacterSet": "ISO_IR 192", "StudyInstanceUID": "1.2.3.1", "AccessionNumber": None}
    ward.add("sr", structured_report(content, **elements))
    (study,), _ = ward.read()
    assert study.report == Report(BIG, "See above.")
    assert ["unknown heading" in note for note in study.notes] == [True]


DOSE = [
    item("TEXT", ("113832", "Identification of the X-Ray Source"), "tube 1"),
    item("CONTAINER", ("113706", "Irradiation Event"), children=[item("TEXT", ("121106", "Comment"), "Repeated.")]),
]


@pytest.mark.parametrize("kind", ["88.67", "88.65", "88.40", "88.50", "88.76", "113701", "112000"])
def test_reports_not_written_by_a_radiologist_are_ignored(ward: Ward, kind: str) -> None:
    title = item("TEXT", (kind, "X-Ray Radiation Dose Report")).ConceptNameCodeSequence
    of_class = {"SOPClassUID": f"1.2.840.10008.5.1.4.1.1.{kind}"} if "." in kind else {"ConceptNameCodeSequence": title}
    ward.film(1)
    ward.film(2)
    for study in (1, 2):
        ward.add(f"a{study}", structured_report(DOSE, StudyInstanceUID=f"1.2.3.{study}", **of_class))
    ward.sr(1)
    assert ward.texts() == {1: BIG, 2: ""}
    assert (ward.listed(), ward.notes()) == ([], [])


@pytest.mark.parametrize(
    "title", ["Nachtrag zum Befund", "Befundnachtrag", "Adenda", "Aanvulling", "Addendum document"]
)
def test_titles_of_addenda_in_other_languages(ward: Ward, title: str) -> None:
    ward.film(1)
    ward.sr(1)
    named = item("TEXT", ("X", title)).ConceptNameCodeSequence
    added = structured_report(
        [section("Findings", "Rib fracture.")], StudyInstanceUID="1.2.3.1", ConceptNameCodeSequence=named
    )
    ward.add("z_later", added)
    (study,) = ward.read()[0]
    assert (study.report.findings, study.report.impression) == (BIG, "Rib fracture.")
    assert ward.notes() == []


def test_findings_of_an_addendum_become_part_of_the_impression() -> None:
    added = item("CONTAINER", ("X", "Addendum"), children=[section("Findings", "New mass.", "121070")])
    content = [added, section("Findings", "Clear.", "121070"), section("Impression", "Normal.", "121072")]
    assert read_structured_report(content).report == Report("Clear.", "Normal. New mass.")
