from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from archives.image_folder import ImageFolderSource
from archives.indiana import IndianaSource
from archives.source_spec import SourceSpec
from archives.tables.source import TableSource
from retrieval.errors import InvalidRequest, MissingColumn, SourceError
from retrieval.records import Study

INDIANA = {"reports_csv": Path("r.csv"), "projections_csv": Path("p.csv"), "images_dir": Path("images")}
TABLE = {"table": Path("t.csv"), "columns": ["image=path"]}


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (INDIANA, "indiana"),
        (TABLE, "table"),
        (TABLE | {"images_dir": Path("images")}, "table"),
        ({"dicom_dir": Path("d")}, "dicom"),
        ({"dicom_dir": Path("d"), "reports_csv": Path("r.csv")}, "dicom"),
        ({"images_dir": Path("images")}, "images"),
    ],
)
def test_the_options_decide_the_kind_of_source(options: dict[str, Any], kind: str) -> None:
    spec = SourceSpec.from_options(**options)
    assert (spec.kind, spec.dataset) == (kind, kind)
    assert SourceSpec.from_options(**options, dataset="own").dataset == "own"


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({}, "none of these options"),
        ({"columns": ["image=path"]}, "none of these options"),
        ({"reports_csv": Path("r.csv")}, "--reports-csv"),
        (INDIANA | {"table": Path("t.csv")}, "--images-dir, --projections-csv, --reports-csv, --table"),
        ({"dicom_dir": Path("d"), "images_dir": Path("i")}, "--dicom-dir, --images-dir"),
        ({"table": Path("t.csv"), "reports_csv": Path("r.csv")}, "--reports-csv, --table"),
    ],
)
def test_options_that_name_no_source_or_two_are_refused(options: dict[str, Any], found: str) -> None:
    with pytest.raises(InvalidRequest, match=f"name one source.*found {found}$"):
        SourceSpec.from_options(**options)


def test_columns_without_a_table_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="--column needs --table"):
        SourceSpec.from_options(images_dir=Path("images"), columns=["image=path"])


def test_a_dataset_with_a_slash_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="'a/b'"):
        SourceSpec.from_options(images_dir=Path("images"), dataset="a/b")


@pytest.mark.parametrize("options", [INDIANA, TABLE, {"dicom_dir": Path("d")}, {"images_dir": Path("i")}])
def test_a_spec_comes_back_from_json_with_absolute_paths(options: dict[str, Any]) -> None:
    spec = SourceSpec.from_options(**options, dataset="own")
    assert SourceSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert all(Path(value).is_absolute() for name, value in spec.options.items() if name != "columns")


def test_a_kind_that_another_version_wrote_is_an_error() -> None:
    document = SourceSpec.from_options(images_dir=Path("images")).to_dict() | {"kind": "tape"}
    with pytest.raises(SourceError, match="'tape'"):
        SourceSpec.from_dict(document)


def test_a_spec_opens_its_source_from_any_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").touch()
    (tmp_path / "t.csv").write_text("path,findings\na.png,Clear.\n")
    (tmp_path / "r.csv").write_text("uid,MeSH,Problems,indication,comparison,findings,impression\n")
    (tmp_path / "p.csv").write_text("uid,filename,projection\n1,a.png,Frontal\n")
    monkeypatch.chdir(tmp_path)
    specs = [
        SourceSpec.from_options(**options)
        for options in (INDIANA, TABLE | {"images_dir": Path("images")}, {"images_dir": Path("images")})
    ]
    monkeypatch.chdir("/")
    sources = [spec.open(tmp_path) for spec in specs]
    assert [type(source) for source in sources] == [IndianaSource, TableSource, ImageFolderSource]
    for spec, source in zip(specs, sources, strict=True):
        (study,) = source
        assert isinstance(study, Study)
        assert (study.dataset, study.images[0].path) == (spec.kind, tmp_path / "images" / "a.png")


def test_what_columns_say_reaches_the_table(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("file\na.png\n")
    with pytest.raises(MissingColumn, match="'path'; found file"):
        SourceSpec.from_options(table=tmp_path / "t.csv", columns=["image=path"]).open(tmp_path)
    with pytest.raises(InvalidRequest, match="'path'"):
        SourceSpec.from_options(table=tmp_path / "t.csv", columns=["path"]).open(tmp_path)
