"""Archives of phantoms on disk."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from archives.indiana import IndianaSource
from archives.phantoms import PhantomStudy, draw_study, write_phantoms
from archives.phantoms.archive import POOL_FROM
from retrieval.errors import InvalidRequest
from retrieval.records import Quarantined, Study


def test_an_archive_reads_back_through_the_indiana_source(tmp_path: Path) -> None:
    files = write_phantoms(tmp_path / "phantoms", 12, 7)
    records = list(IndianaSource(files.reports_csv, files.projections_csv, files.images_dir, dataset="phantom"))
    assert not [record for record in records if isinstance(record, Quarantined)]
    studies = [record for record in records if isinstance(record, Study)]
    drawn = [draw_study(7, number) for number in range(12)]
    assert [study.study_id for study in studies] == [study.uid for study in drawn]
    for study, phantom in zip(studies, drawn, strict=True):
        assert (study.report, study.mesh, study.problems) == (phantom.report, phantom.mesh, phantom.problems)
        assert [image.view for image in study.images] == views_of(phantom)


def test_the_same_arguments_give_the_same_bytes_and_a_complete_folder_is_left_alone(tmp_path: Path) -> None:
    write_phantoms(tmp_path / "a", 5, 2)
    write_phantoms(tmp_path / "b", 5, 2)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("*")}
    write_phantoms(tmp_path / "a", 5, 2)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("*")} == stamps


def test_an_archive_drawn_by_several_processes_has_the_same_studies(tmp_path: Path) -> None:
    files = write_phantoms(tmp_path, POOL_FROM, 2)
    for number in (0, POOL_FROM - 1):
        study = draw_study(2, number)
        with Image.open(files.images_dir / f"{study.uid}-frontal.png") as image:
            assert np.array_equal(np.asarray(image), study.frontal)
    with files.reports_csv.open(newline="") as table:
        assert [row["uid"] for row in csv.DictReader(table)] == [f"P2-{number:04d}" for number in range(POOL_FROM)]


def test_a_folder_with_a_lost_image_is_drawn_again(tmp_path: Path) -> None:
    files = write_phantoms(tmp_path, 4, 0)
    before = contents(tmp_path)
    next(files.images_dir.iterdir()).unlink()
    write_phantoms(tmp_path, 4, 0)
    assert contents(tmp_path) == before


def test_a_smaller_archive_replaces_a_larger_one_whole(tmp_path: Path) -> None:
    write_phantoms(tmp_path / "a", 6, 0)
    files = write_phantoms(tmp_path / "a", 3, 0)
    write_phantoms(tmp_path / "b", 3, 0)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    with files.projections_csv.open(newline="") as table:
        assert {row["filename"] for row in csv.DictReader(table)} == {path.name for path in files.images_dir.iterdir()}


def test_progress_is_reported_up_to_the_last_study(tmp_path: Path) -> None:
    told: list[int] = []
    write_phantoms(tmp_path, 5, 0, progress=told.append)
    assert told == [1, 2, 3, 4, 5]
    write_phantoms(tmp_path, 5, 0, progress=told.append)
    assert told[-1] == 5


@pytest.mark.parametrize(("studies", "seed"), [(0, 0), (3, -1)])
def test_impossible_archives_are_refused_before_anything_is_written(tmp_path: Path, studies: int, seed: int) -> None:
    with pytest.raises(InvalidRequest):
        write_phantoms(tmp_path / "new", studies, seed)
    assert not (tmp_path / "new").exists()


def views_of(study: PhantomStudy) -> list[str]:
    return ["frontal"] if study.lateral is None else ["frontal", "lateral"]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_tables_of_somebody_else_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "reports.csv").write_text("mine")
    with pytest.raises(InvalidRequest, match="not phantoms"):
        write_phantoms(tmp_path, 2, 0)
    assert (tmp_path / "reports.csv").read_text() == "mine"


def test_images_of_somebody_else_stay_when_an_archive_is_replaced(tmp_path: Path) -> None:
    write_phantoms(tmp_path, 3, 0)
    mine = tmp_path / "images" / "Patient1-PA.png"
    mine.write_bytes(b"mine")
    write_phantoms(tmp_path, 2, 0)
    assert mine.read_bytes() == b"mine"
    assert not list((tmp_path / "images").glob("P0-0002-*"))
