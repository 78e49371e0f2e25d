"""Label columns of tables: NIH, PadChest, CheXpert and MIMIC."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from archives.tables.columns import parse_columns
from archives.tables.source import TableSource
from ingest.labels.study import label_study
from ingest.source_images import SourceImage, read_images
from retrieval.errors import InvalidRequest, SourceError
from retrieval.records import Quarantined, Study
from tests.archives.test_table_forms import quarantined, source, studies


def images_by_id(found: TableSource) -> dict[str, SourceImage]:
    return {image.record.image_id: image for image in read_images(found) if isinstance(image, SourceImage)}


def test_finding_labels_of_nih_and_labels_of_padchest_need_no_mapping(tmp_path: Path) -> None:
    text = "Image Index,Finding Labels\na.png,Cardiomegaly|Effusion\nb.png,No Finding\nc.png,\n"
    found = images_by_id(source(tmp_path, text, image="Image Index"))
    assert found["a.png"].labels.present == ("Cardiomegaly", "Pleural Effusion")
    assert found["b.png"].labels.present == ("No Finding",)
    assert found["c.png"].labels.present == ()
    text = "image,Labels\na.png,\"['cardiomegaly', 'pleural effusion']\"\nb.png,\"['aortic elongation']\"\nc.png,['exclude']\n"
    found = images_by_id(source(tmp_path, text))
    assert found["a.png"].labels.present == ("Cardiomegaly", "Pleural Effusion")
    assert (found["b.png"].unknown_terms, found["c.png"].labels.present) == (("Aortic Elongation",), ())


def test_labels_and_problems_add_up(tmp_path: Path) -> None:
    found = images_by_id(source(tmp_path, "image,problems,labels\na.png,Nodule,Effusion|Pleural_Thickening\n"))
    assert found["a.png"].labels.problems == ("Nodule", "Pleural Effusion", "Thickening")
    assert "Pleural Other" in found["a.png"].labels.present


CHEXPERT = (
    "Path,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Pleural Effusion,Support Devices\n"
    "a.png,,0.0,1.0,-1.0,,1.0\nb.png,1.0,,,,,\nc.png,,,,,,\n"
)


@pytest.mark.parametrize("text", [CHEXPERT, CHEXPERT.replace(".0", ""), CHEXPERT.replace(",", ";").replace(".0", ",0")])
def test_columns_of_findings_hold_one_zero_minus_one_and_blank(tmp_path: Path, text: str) -> None:
    found = images_by_id(source(tmp_path, text, image="Path"))
    first = found["a.png"].labels
    assert first.present == ("Cardiomegaly", "Support Devices")
    assert (first.uncertain, first.absent) == (("Lung Opacity",), ("Enlarged Cardiomediastinum",))
    assert found["b.png"].labels.present == ("No Finding",)
    assert found["c.png"].labels.from_indexing == ()
    (note,) = found["a.png"].study.notes
    assert "Enlarged Cardiomediastinum, Cardiomegaly" in note


def test_columns_of_parquet_may_be_numbers_or_truth_values(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "image": ["a.png", "b.png"],
            "Edema": [1.0, None],
            "effusion": [True, False],
            "Mass": pd.array([-1, None], "Int64"),
        }
    )
    source(tmp_path, "image\na.png\nb.png\n")
    frame.to_parquet(tmp_path / "t.parquet")
    found = images_by_id(TableSource(tmp_path / "t.parquet", images_dir=None, columns={}, dataset="own"))
    assert found["a.png"].labels.present == ("Pulmonary Edema", "Edema", "Pleural Effusion")
    assert found["a.png"].labels.uncertain == ("Mass", "Lung Lesion")
    assert (found["b.png"].labels.present, found["b.png"].labels.absent) == ((), ("Pleural Effusion",))


def test_a_column_is_named_as_a_finding(tmp_path: Path) -> None:
    assert parse_columns(["Pleural Effusion=pe", "image=path"]) == {"Pleural Effusion": "pe", "image": "path"}
    with pytest.raises(InvalidRequest, match="unknown field 'Plural Effusion'"):
        parse_columns(["Plural Effusion=pe"])
    found = source(tmp_path, "image,pe,Effusion\na.png,1,0\nb.png,odd,1\n", **{"Pleural Effusion": "pe"})
    assert [study.statuses for study in studies(found)] == [(("Pleural Effusion", "present"),), ()]
    assert "1 cells of the column for Pleural Effusion are not 1, 0 or -1" in studies(found)[0].notes[0]


@pytest.mark.parametrize("cells", ["70,82", "none seen,1", "0.93,0.1", "2,1"])
def test_a_column_with_the_name_of_a_finding_and_other_cells_is_not_read_and_noted(tmp_path: Path, cells: str) -> None:
    first, second = cells.split(",")
    found = source(tmp_path, f"image,Mass,Heart,Sex\na.png,{first},1,1\nb.png,{second},0,0\n")
    assert [study.statuses for study in studies(found)] == [(), ()]
    assert ["not read" in note for note in studies(found)[0].notes] == [True]


@pytest.mark.parametrize("other", ["Fracture", "Pneumonia"])
@pytest.mark.parametrize("codes", ["1,2", "3,0", "0.0,3.0", "2,"])
def test_codes_from_0_to_3_make_no_column_a_label(tmp_path: Path, other: str, codes: str) -> None:
    first, second = codes.split(",")
    table = f"image,Edema,{other},pe\na.png,{first},0,1\nb.png,{second},1,0\n"
    found = source(tmp_path, table, **{"Pleural Effusion": "pe"})
    assert [study.statuses for study in studies(found)] == [
        (("Pleural Effusion", "present"),),
        (("Pleural Effusion", "absent"),),
    ]
    assert "contain 2 or 3, and then 0 and 1 may have another meaning: Edema" in studies(found)[0].notes[0]


@pytest.mark.parametrize(
    "cell",
    [
        '{"Edema": 1, "Fracture": 0}',
        "{'Edema': False, 'Mass': True}",
        '[{"name": "Edema", "value": 0}]',
        " {Edema: 0}",
        "[[{'Mass': -1}]]",
    ],
)
@pytest.mark.parametrize("column", ["labels", "problems"])
def test_the_keys_of_a_mapping_are_no_labels(tmp_path: Path, cell: str, column: str) -> None:
    quoted = '"' + cell.replace('"', '""') + '"'
    (study,) = studies(source(tmp_path, f"image,{column}\na.png,{quoted}\n"))
    labels = label_study(study.mesh, study.problems, "", "", study.statuses)
    assert (labels.present, labels.uncertain, labels.absent) == ((), (), ())
    assert study.notes == ("label cells with mappings, such as JSON, were not read; give each finding a column: 1",)


def test_structs_of_parquet_are_mappings(tmp_path: Path) -> None:
    source(tmp_path, "image\na.png\n")
    cells = [{"Edema": 1, "Fracture": 0}, None]
    pd.DataFrame({"image": ["a.png", "b.png"], "labels": cells}).to_parquet(tmp_path / "t.parquet")
    found = studies(TableSource(tmp_path / "t.parquet", images_dir=None, columns={}, dataset="own"))
    assert [label_study("", study.problems, "", "").present for study in found] == [(), ()]
    assert "mappings" in found[0].notes[0]


def test_two_columns_of_one_finding_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="'Effusion' and 'Pleural Effusion'"):
        source(tmp_path, "image,Effusion,Pleural Effusion\na.png,1,0\n")


def test_rows_of_a_study_that_contradict_each_other_in_a_label_give_none(tmp_path: Path) -> None:
    found = source(tmp_path, "image,study_id,Edema,Mass\na.png,1,1,1.0\nb.png,1,0,1\nc.png,1,,\n")
    (study,) = studies(found)
    assert study.statuses == (("Mass", "present"),)
    assert quarantined(found) == [("study 1", "conflicting_report")]
    (told,) = (record for record in found if isinstance(record, Quarantined) and record.code == "conflicting_report")
    assert "differ in Edema;" in told.detail


def test_studies_about_which_nothing_is_known_are_unlabelled(tmp_path: Path) -> None:
    found = source(tmp_path, "image,mesh,problems,labels,findings\na.png,nan,None,[],\nb.png,,,exclude,N/A\n")
    for image in images_by_id(found).values():
        assert (image.labels.present, image.labels.absent, image.labels.from_text) == ((), (), ())
    assert all(isinstance(study, Study) for study in studies(found))
