"""Tables written by spreadsheets and programs: separators, encodings, missing ids, repeated columns, paths."""

from __future__ import annotations

import csv
import io
import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archives.dicom.report_table import ReportTable
from archives.file_tree import FileTree
from archives.tables.cells import CellTable
from archives.tables.source import TableSource
from retrieval.errors import MissingFile, SourceError
from retrieval.records import Quarantined, Study

COMMA = 'image,study_id,findings\na.png,1,"Large mass; left, below"\n'


def source(folder: Path, text: str | bytes, name: str = "t.csv", **columns: str) -> TableSource:
    for image in ("a.png", "b.png", "c.png"):
        (folder / image).touch()
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return TableSource(folder / name, images_dir=folder, columns=columns, dataset="own")


def studies(found: TableSource) -> list[Study]:
    return [record for record in found if isinstance(record, Study)]


def quarantined(found: TableSource) -> list[tuple[str, str]]:
    listed = [record for record in found if isinstance(record, Quarantined) and record.code != "unlisted_file"]
    return [(record.file, record.code) for record in listed]


@pytest.mark.parametrize(
    ("text", "findings"),
    [
        (COMMA, "Large mass; left, below"),
        ('image;study_id;findings\na.png;1;"Large mass; left, below"\n', "Large mass; left, below"),
        ("image;study_id;findings, impression\na.png;1;x\n", ""),
        ("sep=;\nimage;study_id;findings\na.png;1;Large mass, left\n", "Large mass, left"),
        ("SEP=,\r\nimage,study_id,findings\r\na.png,1,x\r\n", "x"),
        ("sep=\t\nimage\tstudy_id\tfindings\na.png\t1\tLarge, mass; left\n", "Large, mass; left"),
        ('"sep=|"\nimage|study_id|findings\na.png|1|a;b,c\n', "a;b,c"),
        ("sep=^\nimage^study_id^findings\na.png^1^x\n", "x"),
        ("\ufeffimage;study_id;findings\na.png;1;x\n", "x"),
        ("\ufeffsep=;\nimage;study_id;findings\na.png;1;x\n", "x"),
        ("image\tstudy_id\tfindings\na.png\t1\tLarge, mass; left\n", "Large, mass; left"),
        ("image|study_id|findings\na.png|1|Large mass\n", "Large mass"),
        ('"image","study_id","findings"\n"a.png","1","x;y;z;a;b"\n', "x;y;z;a;b"),
        ('study_id,"a;b;c;d;e",image,findings\n1,2,a.png,x\n', "x"),
        ('"study\nid";image;findings\n1;a.png;"two\nlines"\n', "two\nlines"),
        ("image,study_id,findings\ra.png,1,x\r", "x"),
        ("\u00a0image\u00a0;\u200bstudy_id;findings\u200b\na.png;1;x\n", "x"),
        ("\n\nimage,study_id,findings\n\na.png,1,x\n,,\n", "x"),
    ],
)
def test_the_separator_comes_from_the_header(tmp_path: Path, text: str, findings: str) -> None:
    (study,) = studies(source(tmp_path, text))
    assert (study.images[0].image_id, study.report.findings) == ("a.png", findings)


@pytest.mark.parametrize("name", ["t.tsv", "t.tab", "t.txt", "t.csv"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_no_suffix_forbids_a_separator(tmp_path: Path, name: str, separator: str) -> None:
    text = separator.join(("image", "findings")) + "\n" + separator.join(("a.png", '"x, y; z"')) + "\n"
    assert studies(source(tmp_path, text, name))[0].report.findings == "x, y; z"


@given(
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(["\n", "\r\n"]),
    st.lists(
        st.tuples(st.text("ab,;|\t\"' \n", max_size=9).map(lambda text: f"x{text}x"), st.text("cd;,|", max_size=5)),
        min_size=1,
        max_size=4,
    ),
)
def test_files_written_by_a_spreadsheet_are_read(
    tmp_path_factory: pytest.TempPathFactory, separator: str, quoting: int, end: str, rows: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "written.csv"
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator, quoting=quoting, lineterminator=end)  # type: ignore[arg-type]
    writer.writerows([("image", "other, one; two"), *rows])
    path.write_text(text.getvalue(), newline="")
    table = CellTable(path, lambda name: name == "image")
    assert list(table.rows(["image", "other, one; two"])) == rows


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("text", ["image\tfindings\na.png\tErguß rechts\n", "image;findings\r\na.png;Erguß rechts\r\n"])
def test_encodings_of_spreadsheets_are_read(tmp_path: Path, encoding: str, text: str) -> None:
    (study,) = studies(source(tmp_path, text.encode(encoding), "t.txt"))
    assert study.report.findings == "Erguß rechts"
    assert any("Windows-1252" in note for note in study.notes) == (encoding == "cp1252")


def test_a_message_names_the_separator_and_not_a_whole_row(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"--column image=COLUMN; found path, findings \(separator ';'\)"):
        source(tmp_path, "path;findings\na.png;x\n")
    secret = "Doe, Jane: large mass in the left lung, which was not there before"
    with pytest.raises(SourceError) as caught:
        source(tmp_path, f'a.png,"{secret}"\n')
    assert secret not in str(caught.value)


@pytest.mark.parametrize("start", [b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1"])
def test_a_spreadsheet_workbook_is_refused(tmp_path: Path, start: bytes) -> None:
    with pytest.raises(SourceError, match="is a spreadsheet workbook; save it as CSV"):
        source(tmp_path, start + bytes(range(256)), "t.xlsx")


@pytest.mark.parametrize("missing", ["nan", "None", "NULL", "N/A", "<NA>", "NA", "#N/A", " \u00a0", '"""nan"""'])
def test_rows_without_an_id_never_merge(tmp_path: Path, missing: str) -> None:
    found = source(
        tmp_path,
        f"image,study_id,image_id,view,findings,problems\na.png,{missing},{missing},{missing},{missing},{missing}\n"
        f"b.png,{missing},{missing},PA,Large pneumothorax.,{missing}\n",
    )
    first, second = studies(found)
    assert (first.study_id, first.images[0].image_id, first.report.findings, first.problems) == (
        "a.png",
        "a.png",
        "",
        "",
    )
    assert (second.study_id, second.report.findings) == ("b.png", "Large pneumothorax.")
    assert not quarantined(found)


@pytest.mark.parametrize("dummy", ["ANON", "0", "xxxx", "Anonymized", "unknown"])
def test_rows_under_a_dummy_for_an_id_never_merge(tmp_path: Path, dummy: str) -> None:
    found = source(tmp_path, f"image,study_id,findings\na.png,{dummy},Large mass.\nb.png,{dummy},\nc.png,{dummy},\n")
    assert [(study.study_id, study.report.findings) for study in studies(found)] == [
        ("a.png", "Large mass."),
        ("b.png", ""),
        ("c.png", ""),
    ]


@pytest.mark.parametrize("ids", [("0", "1", "0"), ("00", "01", "00"), ("ANON1", "ANON2", "ANON1"), ("x1", "y", "x1")])
def test_ids_that_only_look_like_dummies_are_ids(tmp_path: Path, ids: tuple[str, ...]) -> None:
    rows = "".join(f"{image}.png,{each}\n" for image, each in zip("abc", ids, strict=True))
    assert [len(study.images) for study in studies(source(tmp_path, f"image,study_id\n{rows}"))] == [2, 1]


def test_a_row_without_an_id_keeps_apart_from_a_study_that_has_its_name(tmp_path: Path) -> None:
    found = source(tmp_path, "image,study_id,findings\na.png,,Mass.\nb.png,a.png,Clear.\nc.png,,\n")
    assert [(study.study_id, study.report.findings) for study in studies(found)] == [
        ("a.png (row 1)", "Mass."),
        ("a.png", "Clear."),
        ("c.png", ""),
    ]
    found = source(tmp_path, "image,image_id,findings\na.png,x,Mass.\nb.png,x,Clear.\n")
    assert [study.report.findings for study in studies(found)] == ["Mass.", "Clear."]


@pytest.mark.parametrize("text", ["None.", "N/A", "nan", "NULL.", "-"])
def test_a_report_that_says_none_says_nothing(tmp_path: Path, text: str) -> None:
    (study,) = studies(source(tmp_path, f"image,findings,impression,comparison\na.png,{text},{text},None.\n"))
    assert (study.report.findings, study.report.impression, study.report.comparison) == ("", "", "None.")


@pytest.mark.parametrize(
    "header",
    [
        "image,findings,findings",
        "image,findings,Findings",
        "image,findings, FINDINGS ",
        "image,Findings\u00a0,FINDINGS",
        "image,labels,Finding Labels",
        "image,image,findings",
        "image,Edema,edema",
        "image,Edema,Pulmonary Edema",
    ],
)
def test_two_columns_for_one_thing_are_named_and_refused(tmp_path: Path, header: str) -> None:
    with pytest.raises(SourceError, match="columns") as caught:
        source(tmp_path, f"{header}\na.png,1,0\n")
    assert "t.csv" in str(caught.value)


def test_unused_columns_may_be_repeated_and_a_mapping_chooses_between_two(tmp_path: Path) -> None:
    found = source(tmp_path, "image,note,note,,,View,VIEW\na.png,x,y,,,PA,LL\n", view="VIEW")
    assert studies(found)[0].images[0].view == "lateral"


@pytest.mark.parametrize("header", ["accession_number,AccessionNumber,findings", "accession_number,findings,Findings"])
def test_two_columns_for_one_thing_are_refused_in_a_table_of_reports_too(tmp_path: Path, header: str) -> None:
    (tmp_path / "r.csv").write_text(f"{header}\n1,2,3\n")
    with pytest.raises(SourceError, match="columns"):
        ReportTable(tmp_path / "r.csv")


def test_paths_with_backslashes_are_those_with_slashes(tmp_path: Path) -> None:
    (tmp_path / "p1").mkdir()
    (tmp_path / "p1" / "d.png").touch()
    found = source(tmp_path, "image\np1\\d.png\n.\\p1\\..\\a.png\n..\\outside.png\n")
    assert [study.images[0].path for study in studies(found)] == [
        tmp_path / "p1" / "d.png",
        tmp_path.resolve() / "a.png",
    ]
    assert studies(found)[0].study_id == "p1/d.png"
    assert quarantined(found) == [("..\\outside.png", "path_outside")]


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("C:\\films\\a.png", "absolute Windows path"),
        ("d:/films/a.png", "absolute Windows path"),
        ("\\\\server\\films\\a.png", "absolute Windows path"),
        ("A.PNG", "'a.png' differs only in upper and lower case"),
        (".\\A.png", "'a.png' differs only in upper and lower case"),
    ],
)
def test_paths_of_other_computers_get_a_hint(tmp_path: Path, cell: str, says: str) -> None:
    records = list(source(tmp_path, f"image\n{cell}\n"))
    assert [record.code for record in records if isinstance(record, Quarantined) and says in record.detail] == [
        "missing_file"
    ]


def test_names_in_another_unicode_form_and_special_files_get_a_hint(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "é.png") for form in ("NFC", "NFD"))
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / decomposed).write_bytes(b"")
    os.mkfifo(tmp_path / "images" / "pipe.png")
    (tmp_path / "images" / "loop.png").symlink_to("loop.png")
    folder = FileTree(tmp_path / "images")
    for name, says in (
        (composed, "in another Unicode form"),
        ("pipe.png", "neither a file nor a link to a file"),
        ("loop.png", "leads back to itself"),
    ):
        with pytest.raises(MissingFile, match=says):
            folder.locate(name)


@pytest.mark.parametrize("cell", [r"b'\x89PNG\r\n'", "{'bytes': b'SECRET'}", "A" * 3000, "data:image/png;base64_AAAA"])
def test_image_content_as_text_is_not_a_file_name(tmp_path: Path, cell: str) -> None:
    records = list(source(tmp_path, f"image\n{cell}\n"))
    assert ("row 1", "missing_file") in [(each.file, each.code) for each in records if isinstance(each, Quarantined)]
    assert cell[:12] not in repr(records)
