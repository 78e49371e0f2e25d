"""Rows that must not reach another patient: bad ids, quotes that swallow rows, text instead of file names."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archives.indiana import PROJECTION_COLUMNS, REPORT_COLUMNS, IndianaSource
from archives.tables.cells import as_ids, as_text
from archives.tables.source import TableSource
from retrieval.errors import SourceError
from retrieval.records import Quarantined, Study
from tests.archives.test_table_forms import quarantined, source, studies

MASS = "Large mass."


def findings(found: TableSource) -> list[tuple[str, str]]:
    return [(study.study_id, study.report.findings) for study in studies(found)]


@pytest.mark.parametrize(
    "no_id",
    [
        *(
            "-1",
            "-99",
            "-1.0",
            '"1,23457E+11"',
            "1.23457E+11",
            "1.2345678901234568e+16",
            "2E+05",
            "missing",
            "no id",
            "TBD",
        ),
        *("keine Angabe", "anonymisiert", "desconocido", "#NV", "#N/D", "#WERT!", "#¡REF!", "#¿NOMBRE?", "#VALEUR!"),
    ],
)
def test_rows_without_a_real_id_never_merge(tmp_path: Path, no_id: str) -> None:
    found = source(tmp_path, f"image,study_id,findings\na.png,{no_id},{MASS}\nb.png,{no_id},\nc.png,7,\n")
    assert findings(found) == [("a.png", MASS), ("b.png", ""), ("7", "")]
    is_told = any("a study id that is none" in note and note.endswith(": 2") for note in studies(found)[0].notes)
    assert is_told == (not no_id.startswith("#"))


@pytest.mark.parametrize("number", ["7", "1e5", "3e12", "12-1", "A-1", "1.2.840.5", "2E5", "E+11", "#12", "#A/1"])
def test_ids_of_strange_form_are_ids(number: str) -> None:
    assert as_ids([number, number, "b7"]) == [number, number, "b7"]


@given(st.floats(min_value=2.0**53, max_value=1e300))
def test_whole_numbers_that_a_float_cannot_tell_apart_are_no_ids(value: float) -> None:
    assert as_ids([as_text(value), "1"]) == ["", "1"]


@given(st.integers(0, 2**53 - 1))
def test_whole_numbers_that_a_float_can_hold_are_ids(value: int) -> None:
    assert as_ids([as_text(float(value)), "b7"]) == [str(value), "b7"]


def test_long_ids_stored_as_floats_in_parquet_never_merge(tmp_path: Path) -> None:
    source(tmp_path, "image\na.png\n")
    ids = [float(12345678901234567890), float(12345678901234567891)]
    pd.DataFrame({"image": ["a.png", "b.png"], "study_id": ids, "findings": [MASS, None]}).to_parquet(tmp_path / "t.pq")
    found = TableSource(tmp_path / "t.pq", images_dir=None, columns={}, dataset="own")
    assert findings(found) == [("a.png", MASS), ("b.png", "")]


@pytest.mark.parametrize(
    "patient", ["patient_id", "Patient ID", "PatientID", "subject_id", "patientid", "MRN", "Subject"]
)
def test_a_study_id_of_several_patients_names_no_study(tmp_path: Path, patient: str) -> None:
    table = f"image,{patient},study_id,findings\na.png,Secret1,study1,{MASS}\nb.png,Secret2,study1,\nc.png,Secret2,study2,x\n"
    found = source(tmp_path, table)
    assert findings(found) == [("study2", "x")]
    assert quarantined(found) == [("a.png", "conflicting_study"), ("b.png", "conflicting_study")]
    assert "Secret" not in repr(list(found))
    assert len(list(found)) == found.image_count()


@pytest.mark.parametrize("patients", [("1", "1"), ("1", "1.0"), ("1", ""), ("nan", "1"), ("", "")])
def test_a_study_of_one_patient_is_one(tmp_path: Path, patients: tuple[str, str]) -> None:
    first, second = patients
    last = "1.0" if "1.0" in patients else "1"
    first = "1.0" if last == "1.0" else first
    table = f"image,patient_id,study_id,findings\na.png,{first},7,{MASS}\nb.png,{second},7,\nc.png,{last},8,\n"
    found = source(tmp_path, table)
    assert [len(study.images) for study in studies(found)] == [2, 1]
    assert not quarantined(found)


def test_a_column_of_patients_that_is_the_study_id_is_no_second_one(tmp_path: Path) -> None:
    found = source(tmp_path, "image,Patient ID\na.png,1\nb.png,1\nc.png,2\n", study_id="Patient ID")
    assert [len(study.images) for study in studies(found)] == [2, 1]


@pytest.mark.parametrize(
    "rows",
    [
        'a.png,1,"Heart normal\nb.png,2,"Large mass."\n',
        'a.png,1,"Heart normal\nb.png,2,Large mass.\nc.png,3,"Clear"\n',
        '"a.png","1","Heart normal\n"b.png","2","Large mass."\n',
        'a.png,1,"So called \\"mass\\"\nb.png,2,x\n',
        'a.png,1,x\nb.png,2,"never closed\n',
    ],
)
def test_a_quote_that_would_swallow_the_next_row_is_refused(tmp_path: Path, rows: str) -> None:
    with pytest.raises(SourceError, match=r"has a quote in row [12] that is not closed, or text after") as caught:
        source(tmp_path, f"image,study_id,findings\n{rows}")
    assert "mass" not in str(caught.value)


def test_quotes_within_unquoted_cells_are_text(tmp_path: Path) -> None:
    found = source(tmp_path, 'image,study_id,findings\na.png,1,Mass of 3" size\nb.png,2,"5"" mass"\n')
    assert findings(found) == [("1", 'Mass of 3" size'), ("2", '5" mass')]


TEXTS = ["Mr Doe has a large mass in the left lung", "Normal.", "FINDINGS: Doe, 1950.", "a b c d Doe", "Doe, Jane"]


@pytest.mark.parametrize("text", TEXTS)
def test_a_report_where_file_names_should_be_is_in_no_message(tmp_path: Path, text: str) -> None:
    found = source(tmp_path, f'image,study_id\n"{text}",1\n"{text}",2\n')
    assert quarantined(found) == [("row 1", "missing_file"), ("row 2", "missing_file")]
    assert text not in repr(list(found))
    (tmp_path / "r.csv").write_text(",".join(REPORT_COLUMNS) + "\n")
    (tmp_path / "p.csv").write_text(",".join(PROJECTION_COLUMNS) + f'\n1,"{text}",Frontal\n')
    records = list(IndianaSource(tmp_path / "r.csv", tmp_path / "p.csv", tmp_path))
    assert ("row 1", "missing_file") in [(each.file, each.code) for each in records if isinstance(each, Quarantined)]
    assert text not in repr(records)


def test_files_with_such_names_are_found_and_missing_ones_with_a_suffix_named(tmp_path: Path) -> None:
    for name in (*TEXTS, "Doe, Jane.png"):
        (tmp_path / name).touch()
    found = source(
        tmp_path, "image\n" + "".join(f'"{name}"\n' for name in (*TEXTS, "Doe, Jane.png", "a b c d e f.png"))
    )
    assert [study.images[0].image_id for study in studies(found)] == [*TEXTS, "Doe, Jane.png"]
    assert quarantined(found) == [("a b c d e f.png", "missing_file")]


@pytest.mark.parametrize("header", ["image,findings,findings.1", "image,findings_x,findings_y", "image,View,view.1"])
def test_columns_that_pandas_renamed_are_two_of_one_name(tmp_path: Path, header: str) -> None:
    with pytest.raises(SourceError, match="has the columns"):
        source(tmp_path, f"{header}\na.png,1,2\n")
    first = header.split(",")[1]
    found = source(tmp_path, f"{header}\na.png,1,2\n", findings=first, view=first)
    assert len(studies(found)) == 1


@pytest.mark.parametrize("header", ["image,findings,view_x,findings.a", "image,findings,mesh.1,problems_y"])
def test_columns_with_other_names_are_ignored(tmp_path: Path, header: str) -> None:
    (study,) = studies(source(tmp_path, f"{header}\na.png,{MASS},2,3\n"))
    assert isinstance(study, Study)
    assert (study.report.findings, study.mesh, study.problems) == (MASS, "", "")
