from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest

from archives.tables.columns import FIELDS, parse_columns
from archives.tables.source import TableSource
from retrieval.errors import InvalidRequest, MissingColumn, SourceError
from retrieval.labels import read_indexing
from retrieval.records import ImageRecord, Quarantined, Report, Study


class Cases:
    """A table `cases.csv` with files beside it, and a separate folder `images` with files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.table = folder / "cases.csv"
        self.files("a.png", "b.png", "images/a.png", "images/p1/b.png")

    def files(self, *names: str) -> None:
        for name in names:
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).touch()

    def source(self, text: str, *, columns: Mapping[str, str] | None = None, images_dir: str = "") -> TableSource:
        self.table.write_text(text)
        return self.open(columns, images_dir)

    def open(self, columns: Mapping[str, str] | None = None, images_dir: str = "") -> TableSource:
        inside = self.folder / images_dir if images_dir else None
        return TableSource(self.table, images_dir=inside, columns=columns or {}, dataset="own")


@pytest.fixture
def cases(tmp_path: Path) -> Cases:
    return Cases(tmp_path)


def read(source: TableSource) -> tuple[list[Study], list[tuple[str, str]]]:
    records = list(source)
    images = sum(len(record.images) for record in records if isinstance(record, Study))
    quarantined = [(record.file, record.code) for record in records if isinstance(record, Quarantined)]
    assert images + len(quarantined) == source.image_count()
    return [record for record in records if isinstance(record, Study)], quarantined


def test_columns_with_the_names_of_fields_need_no_mapping(cases: Cases) -> None:
    text = (
        "Image,STUDY_ID,image_id, View ,findings,Impression,indication,comparison,MeSH,Problems,age\n"
        "a.png,7,7-1,PA,Clear.,Normal.,Cough.,None.,Opacity/lung/base;Nodule,Opacity;Nodule,60\n"
    )
    (study,), quarantined = read(cases.source(text))
    assert not quarantined
    image = ImageRecord("7-1", cases.folder / "a.png", "frontal", file="a.png")
    report = Report("Clear.", "Normal.", "Cough.", "None.")
    assert study == Study("7", "own", (image,), report, mesh="Opacity/lung/base;Nodule", problems="Opacity;Nodule")
    assert read_indexing(study.mesh, study.problems).problems == ("Opacity", "Nodule")


def test_other_columns_are_mapped_exactly_or_else_in_any_case(cases: Cases) -> None:
    text = "Path,CASE,case,findings\na.png,1,2,Clear.\n"
    ((study,), _) = read(cases.source(text, columns={"image": "path", "study_id": "case"}))
    assert (study.study_id, study.images[0].image_id, study.report.findings) == ("2", "a.png", "Clear.")


def test_a_column_mapped_to_one_field_is_not_used_for_another(cases: Cases) -> None:
    text = "image,impression\na.png,Whole report.\n"
    ((study,), _) = read(cases.source(text, columns={"findings": "impression"}))
    assert study.report == Report(findings="Whole report.")


def test_one_column_may_be_given_to_two_fields(cases: Cases) -> None:
    ((study,), _) = read(cases.source("path\na.png\n", columns={"image": "path", "study_id": "path"}))
    assert (study.study_id, study.images[0].image_id) == ("a.png", "a.png")


def test_without_a_study_every_image_is_its_own_and_goes_by_its_file(cases: Cases) -> None:
    studies, _ = read(cases.source("image,study_id\na.png,\nb.png,\nimages/a.png,5\n"))
    assert [(study.study_id, study.images[0].image_id) for study in studies] == [
        ("a.png", "a.png"),
        ("b.png", "b.png"),
        ("5", "images/a.png"),
    ]
    assert {study.images[0].name for study in studies} == {"a.png", "b.png", "images/a.png"}


def test_rows_of_one_study_may_be_scattered_and_its_first_text_is_used(cases: Cases) -> None:
    text = "image,study_id,findings,impression\na.png,1,,Normal.\nb.png,2,Nodule.,\nimages/a.png,1,Clear.,  Normal. \n"
    studies, quarantined = read(cases.source(text))
    assert not quarantined
    assert [(study.study_id, len(study.images), study.report) for study in studies] == [
        ("1", 2, Report("Clear.", "Normal.")),
        ("2", 1, Report("Nodule.")),
    ]


def test_of_texts_in_which_rows_of_a_study_contradict_each_other_none_is_used(cases: Cases) -> None:
    text = (
        "image,study_id,findings,mesh\na.png,1,Clear.,normal\nb.png,1,Large  effusion.,normal\nimages/a.png,1,Mass.,\n"
    )
    source = cases.source(text)
    (study,), quarantined = read(source)
    assert quarantined == [("study 1", "conflicting_report")]
    assert (len(study.images), study.report.findings, study.mesh) == (3, "", "normal")
    (told,) = (record for record in source if isinstance(record, Quarantined))
    assert "differ in findings;" in told.detail
    assert "effusion" not in told.detail


def test_texts_that_differ_in_white_space_alone_contradict_nothing(cases: Cases) -> None:
    _, quarantined = read(cases.source('image,study_id,findings\na.png,1,"Lungs\nclear."\nb.png,1,Lungs  clear.\n'))
    assert not quarantined


def test_a_whole_report_is_used_as_findings_if_there_are_none(cases: Cases) -> None:
    ((study,), _) = read(cases.source("image,report\na.png,All clear.\n"))
    assert study.report == Report(findings="All clear.")
    ((study,), _) = read(cases.source("image,report,findings\na.png,All clear.,Clear.\n"))
    assert study.report == Report(findings="Clear.")
    with pytest.raises(InvalidRequest, match=r"has findings in 'findings'"):
        cases.source("image,text,findings\na.png,All clear.,Clear.\n", columns={"report": "text"})


def test_paths_are_relative_to_the_images_folder_or_absolute_inside_it(cases: Cases) -> None:
    inside = cases.folder / "images"
    studies, quarantined = read(cases.source(f"image\n{inside}/a.png\np1/b.png\n", images_dir="images"))
    assert not quarantined
    assert [study.images[0].path for study in studies] == [inside / "a.png", inside / "p1" / "b.png"]
    assert studies[0].images[0].image_id == f"{inside}/a.png"


@pytest.mark.parametrize("name", ["../a.png", "p1/../../a.png", "{folder}/a.png", "/etc/passwd"])
def test_a_path_that_leads_outside_is_quarantined_with_advice(cases: Cases, name: str) -> None:
    name = name.replace("{folder}", str(cases.folder))
    source = cases.source(f"image,study_id\na.png,1\n{name},1\np1/b.png,2\n", images_dir="images")
    assert read(source)[1] == [(name, "path_outside")]
    (told,) = (record for record in source if isinstance(record, Quarantined))
    assert "--images-dir that contains all images" in told.detail


def test_missing_files_are_quarantined_by_name_and_empty_cells_by_row(cases: Cases) -> None:
    text = "image,study_id,image_id,findings\ngone.png,1,9,Clear.\na.png,1,8,\n,,,Mass.\n,,,Nodule.\n"
    (study,), quarantined = read(cases.source(text))
    assert quarantined == [("gone.png", "missing_file"), ("row 3", "missing_file"), ("row 4", "missing_file")]
    assert study.report.findings == "Clear."


def test_rows_with_one_image_id_all_come_out_for_the_worker_to_choose(cases: Cases) -> None:
    studies, quarantined = read(cases.source("image,study_id,image_id\na.png,1,x\nb.png,1,x\nimages/a.png,2,z\n"))
    assert [[image.image_id for image in study.images] for study in studies] == [["x", "x"], ["z"]]
    assert not quarantined


@pytest.mark.parametrize("again", ["b.png", "./b.png", "images/../b.png", ".\\b.png", "link.png", "{folder}/b.png"])
def test_a_file_of_two_studies_is_neither_s_by_whatever_name(cases: Cases, again: str) -> None:
    (cases.folder / "link.png").symlink_to("b.png")
    again = again.replace("{folder}", str(cases.folder))
    studies, quarantined = read(cases.source(f"image,study_id,findings\na.png,1,Clear.\nb.png,1,\n{again},2,Mass.\n"))
    assert [(study.study_id, [image.image_id for image in study.images]) for study in studies] == [("1", ["a.png"])]
    assert quarantined == [("b.png", "conflicting_study"), (again, "conflicting_study")]


def test_a_file_in_rows_without_study_is_refused_if_they_differ_and_counts_once_if_they_agree(cases: Cases) -> None:
    studies, quarantined = read(
        cases.source("image,findings\na.png,Clear.\na.png,Mass.\nb.png,Clear.\n./b.png,Clear.\n")
    )
    assert [study.study_id for study in studies] == ["b.png"]
    assert quarantined == [("a.png", "conflicting_study"), ("a.png", "conflicting_study"), ("./b.png", "duplicate_id")]


def test_a_file_in_two_rows_of_a_study_counts_once(cases: Cases) -> None:
    (study,), quarantined = read(cases.source("image,study_id\na.png,1\n./a.png,1\n"))
    assert [image.image_id for image in study.images] == ["a.png"]
    assert quarantined == [("./a.png", "duplicate_id")]


def test_unlisted_files_are_reported_only_in_a_separate_images_folder(cases: Cases) -> None:
    assert read(cases.source("image\na.png\n"))[1] == []
    assert read(cases.source("image\na.png\n", images_dir="images"))[1] == [("p1/b.png", "unlisted_file")]


def test_the_table_itself_is_no_file_without_a_row(cases: Cases) -> None:
    (_, quarantined) = read(cases.source("image\na.png\nb.png\nimages/a.png\n", images_dir="."))
    assert quarantined == [("images/p1/b.png", "unlisted_file")]


def test_a_parquet_table_reads_as_the_same_table_in_csv(cases: Cases) -> None:
    frame = pd.DataFrame(
        {
            "path": ["a.png", "b.png", "images/a.png"],
            "case": [12, 12, None],  # floats, to pandas
            "view": ["PA", None, "LL"],
            "findings": [None, "Clear.", float("nan")],
            "problems": [["Nodule", "Mass"], [], None],
        }
    )
    columns = {"image": "path", "study_id": "case"}
    cases.table = cases.folder / "cases.parquet"
    frame.to_parquet(cases.table)
    studies, quarantined = read(cases.open(columns))
    assert not quarantined
    assert [study.study_id for study in studies] == ["12", "images/a.png"]
    cases.table = cases.folder / "cases.csv"
    text = "path,case,view,findings,problems\na.png,12,PA,,Nodule;Mass\nb.png,12,,Clear.,\nimages/a.png,,LL,,\n"
    assert studies == read(cases.source(text, columns=columns))[0]


def test_a_source_can_be_read_twice(cases: Cases) -> None:
    source = cases.source("image\na.png\ngone.png\n", images_dir="images")
    assert list(source) == list(source)


@pytest.mark.parametrize(
    ("text", "columns", "error", "says"),
    [
        ("path\na.png\n", {}, MissingColumn, "--column image=COLUMN; found path"),
        ("path\na.png\n", {"image": "file"}, MissingColumn, "has no column 'file'; found path"),
        ("image,View,VIEW\na.png,PA,PA\n", {}, SourceError, "the columns 'View' and 'VIEW'; choose one with --column"),
        ("image\na.png\n", {"uid": "image"}, InvalidRequest, "unknown field 'uid'"),
    ],
)
def test_ambiguous_or_unknown_columns_are_an_error(
    cases: Cases, text: str, columns: dict[str, str], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        cases.source(text, columns=columns)


def test_a_missing_images_folder_is_named(cases: Cases) -> None:
    with pytest.raises(SourceError, match="pictures does not exist"):
        cases.source("image\na.png\n", images_dir="pictures")


def test_pairs_become_a_mapping() -> None:
    assert parse_columns(["image=path", " study_id = case=no "]) == {"image": "path", "study_id": "case=no"}
    assert parse_columns([]) == {}


@pytest.mark.parametrize(
    ("pairs", "says"),
    [
        (["path"], "FIELD=COLUMN, as in image=path, found 'path'"),
        (["=path"], "found '=path'"),
        (["image="], "found 'image='"),
        (["image=a", "image=b"], "the field image twice: to 'a' and to 'b'"),
        (["picture=path"], f"unknown field 'picture'; fields: {', '.join(FIELDS)}"),
    ],
)
def test_bad_column_mappings_are_refused(pairs: list[str], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        parse_columns(pairs)


def test_a_date_is_kept_as_a_day_and_a_bad_date_is_reported(cases: Cases) -> None:
    text = "image,study_id,study_date\na.png,1,2024-02-29\nb.png,2,2024-03-01T10:20:00\n"
    studies, quarantined = read(cases.source(text))
    assert [study.date for study in studies] == ["2024-02-29", "2024-03-01"]
    assert not quarantined
    studies, quarantined = read(cases.source("image,study_id,study_date\na.png,1,31.12.2024\nb.png,2,\n"))
    assert [study.date for study in studies] == ["", ""]
    assert quarantined == [("study 1", "bad_date")]
    (note,) = (record for record in cases.open() if isinstance(record, Quarantined))
    assert "2024-01-31" in note.detail
    assert "31.12.2024" not in note.detail
