"""Matching of reports to DICOM studies: by StudyInstanceUID, or by an accession number that identifies one study."""

from __future__ import annotations

import pytest
from pydicom.uid import CTImageStorage

from archives.dicom.accession_numbers import AccessionNumbers
from archives.dicom.pseudonyms import hash_uid
from tests.archives.dicom_tree import ACCESSION, BIG, SALT, Ward, section, structured_report


@pytest.mark.parametrize("accession", ["ANON", "0", "", None, "NA", "A1", "xxxx", "Unknown"])
def test_a_structured_report_belongs_to_its_study_alone(ward: Ward, accession: str | None) -> None:
    for study in (1, 2, 3):
        ward.film(study, accession)
    ward.sr(1, accession=accession)
    assert ward.texts() == {1: BIG, 2: "", 3: ""}
    assert ward.listed() == []
    assert any("does not identify one study" in note for note in ward.notes()) == (accession not in ("", None, "NA"))


@pytest.mark.parametrize("accession", ["ANON", "0", "A1", "anonymous"])
def test_a_row_whose_accession_number_several_studies_share_goes_to_none(ward: Ward, accession: str) -> None:
    for study in (1, 2, 3):
        ward.film(study, accession)
    ward.reports(f"accession_number,findings\n{accession},{BIG}\n")
    assert ward.texts() == {1: "", 2: "", 3: ""}
    assert ward.listed() == [("reports.csv row 1", "shared_accession")]
    assert not any(accession in note for note in ward.notes())


@pytest.mark.parametrize("accession", ["ANON", "0000", "xxxx", "Anonymized", "REMOVED", "not available"])
def test_a_dummy_accession_number_matches_no_study_even_if_only_one_file_has_it(ward: Ward, accession: str) -> None:
    ward.film(1, accession)
    ward.reports(f"accession_number,findings\n{accession},{BIG}\n")
    assert (ward.texts(), ward.listed()) == ({1: ""}, [("reports.csv row 1", "shared_accession")])


@pytest.mark.parametrize("accession", ["ANON0001", "10", "X1", "A-0", "007"])
def test_one_number_one_study_one_row_is_attached(ward: Ward, accession: str) -> None:
    ward.film(1, accession)
    ward.film(1, accession)
    ward.film(2, "other")
    ward.reports(f"accession_number,findings\n{accession},{BIG}\n")
    assert (ward.texts(), ward.listed()) == ({1: BIG, 2: ""}, [])


def test_a_study_with_several_accession_numbers_takes_no_report_by_them(ward: Ward) -> None:
    ward.film(1, "A1")
    ward.film(1, "A2")
    ward.film(2, "A3")
    ward.reports(f"accession_number,findings\nA1,{BIG}\nA2,Clear.\nA3,Mass.\n")
    assert ward.texts() == {1: "", 2: "Mass."}
    assert ward.listed() == [("reports.csv row 1", "shared_accession"), ("reports.csv row 2", "shared_accession")]


@pytest.mark.parametrize("key", ["A1", "1.2.3.1"])
def test_rows_with_one_key_that_differ_are_not_used_and_equal_ones_once(ward: Ward, key: str) -> None:
    ward.film(1, "A1")
    column = "study_instance_uid" if "." in key else "accession_number"
    ward.reports(f"{column},findings\n{key},{BIG}\n{key},Clear.\n{key},{BIG}\n")
    assert (ward.texts(), ward.listed()) == ({1: ""}, [("reports.csv row 1", "conflicting_report")])
    ward.reports(f"{column},findings\n{key},{BIG}\n{key}, {BIG.replace(' ', '  ')}\n")
    assert (ward.texts(), ward.listed()) == ({1: BIG}, [("reports.csv row 2", "duplicate_id")])


def test_an_accession_number_that_only_the_structured_report_carries_is_no_key(ward: Ward) -> None:
    ward.film(1)
    ward.sr(8, accession="A1")
    ward.reports("accession_number,findings\nA1,Mass.\n")
    assert ward.texts() == {1: ""}
    assert ward.listed() == [("reports.csv row 1", "row_without_file"), ("sr002", "report_without_image")]


@pytest.mark.parametrize("header", ["StudyInstanceUID", "study_instance_uid", "Study UID", "study_id"])
def test_a_table_may_give_reports_by_study_uid(ward: Ward, header: str) -> None:
    for study in (1, 2, 3):
        ward.film(study, "ANON")
    ward.reports(f"{header},accession_number,findings\n1.2.3.2,ANON,{BIG}\n1.2.3.7,ANON,Lost.\n,ANON,Nobody's.\n")
    assert ward.texts() == {1: "", 2: BIG, 3: ""}
    assert ward.listed() == [("reports.csv row 3", "shared_accession"), ("reports.csv row 2", "row_without_file")]


def test_a_study_id_is_a_key_only_if_the_archive_has_it(ward: Ward) -> None:
    ward.film(1, "A1")
    ward.film(2, "A2")
    ward.reports(f"study_id,accession_number,findings\n{hash_uid(SALT, '1.2.3.1')},,{BIG}\n4711,A2,Mass.\n")
    assert (ward.texts(), ward.listed()) == ({1: BIG, 2: "Mass."}, [])


def test_the_study_uid_of_a_row_counts_before_the_accession_number_of_another(ward: Ward) -> None:
    ward.film(1, "A1")
    ward.reports(f"study_instance_uid,accession_number,findings\n,A1,Clear.\n1.2.3.1,,{BIG}\n")
    assert (ward.texts(), ward.listed()) == ({1: BIG}, [("reports.csv row 1", "duplicate_id")])


def test_a_report_of_a_computed_tomography_with_the_same_accession_number_stays_away(ward: Ward) -> None:
    ward.film(1, ACCESSION)
    ward.film(2, ACCESSION, SOPClassUID=CTImageStorage, Modality="CT")
    ward.sr(2, accession=ACCESSION)
    assert ward.texts() == {1: ""}
    assert [code for _, code in ward.listed()] == ["wrong_modality", "report_without_image"]


def test_two_reports_without_images_and_with_the_same_accession_number_are_quarantined(ward: Ward) -> None:
    ward.film(1, "A1")
    ward.film(2, "A2")
    names = [ward.sr(7, "Clear.", "A1"), ward.sr(8, BIG, "A1"), ward.sr(6, "Mass.", "A2")]
    assert ward.texts() == {1: "", 2: "Mass."}
    assert ward.listed() == [(name, "report_without_image") for name in names[:2]]


def test_a_report_of_an_imaged_study_is_never_lent_to_another(ward: Ward) -> None:
    ward.film(1, "A1")
    ward.film(2, "A2")
    ward.sr(2, accession="A1")
    assert (ward.texts(), ward.listed()) == ({1: "", 2: BIG}, [])


def test_a_stray_report_does_not_replace_that_of_the_study(ward: Ward) -> None:
    ward.film(1, "A1")
    ward.sr(1, "Clear.", "A1")
    stray = ward.sr(8, BIG, "A1", VerificationFlag="VERIFIED")
    assert (ward.texts(), ward.listed()) == ({1: "Clear."}, [(stray, "report_without_image")])


def test_reports_without_study_uid_meet_no_other(ward: Ward) -> None:
    ward.film(1)
    names = [ward.sr(None), ward.sr(None, "Mass.")]
    assert (ward.texts(), ward.listed()) == ({1: ""}, [(name, "report_without_image") for name in names])


def test_different_reports_of_a_study_are_noted(ward: Ward) -> None:
    ward.film(1)
    ward.sr(1, "Clear.")
    ward.sr(1, BIG, VerificationFlag="VERIFIED")
    assert ward.texts() == {1: BIG}
    assert ["several structured reports" in note for note in ward.notes()] == [True]


def test_no_message_repeats_an_accession_number() -> None:
    accessions = AccessionNumbers()
    for study, number in (("a", "SECRET"), ("b", "SECRET"), ("c", "ONE"), ("c", "TWO"), ("d", "anon"), ("e", "FINE")):
        accessions.add(study, number)
    assert [accessions.study_of(number) for number in ("SECRET", "ONE", "anon", "FINE", "none")] == [None] * 3 + [
        "e",
        None,
    ]
    assert [accessions.why_ambiguous(number) for number in ("SECRET", "ONE", "FINE")] == [
        "shared by 2 studies",
        "that of a study whose files have several numbers",
        "",
    ]


@pytest.mark.parametrize("dummy", ["ANON", "0", "REMOVED", "unknown", "00000", "nan"])
def test_a_dummy_for_a_study_uid_makes_no_study_of_several(ward: Ward, dummy: str) -> None:
    for number in (1, 2, 3):
        uids = {"StudyInstanceUID": dummy, "SeriesInstanceUID": dummy, "SOPInstanceUID": dummy}
        ward.add(f"film{number}", **uids | {"AccessionNumber": f"A{number}"})
    content = [section("Findings", BIG)]
    ward.add("sr", structured_report(content, StudyInstanceUID=dummy, SeriesInstanceUID=dummy, AccessionNumber="A2"))
    studies, listed = ward.read()
    assert [(study.images[0].file, study.report.findings) for study in studies] == [
        ("film1", ""),
        ("film2", BIG),
        ("film3", ""),
    ]
    assert listed == []


def test_a_row_with_a_dummy_for_its_study_uid_goes_by_its_accession_number(ward: Ward) -> None:
    ward.film(1, "A1")
    ward.film(2, "A2")
    ward.reports(f"study_instance_uid,accession_number,findings\nANON,A1,{BIG}\nANON,,Clear.\n")
    assert ward.texts() == {1: BIG, 2: ""}
    assert ward.listed() == [("reports.csv row 2", "row_without_file")]
