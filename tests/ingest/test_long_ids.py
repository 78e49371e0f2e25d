"""Images with ids too long for a request are quarantined in every source; the longest accepted ids are not."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from PIL import Image

from archives.dicom.folder import DicomFolderSource
from archives.image_folder import ImageFolderSource
from archives.indiana import IndianaSource
from archives.source_spec import SourceSpec
from archives.tables.source import TableSource
from ingest.run_mode import RunMode
from ingest.source_images import SourceImage, read_images
from ingest.worker import Worker
from retrieval.errors import InvalidRequest
from retrieval.index.edge.index import EdgeIndex
from retrieval.index.filters import Filters
from retrieval.records import LIMIT_ID, Quarantined, Source
from tests.dicom_files import make_dicom
from tests.ingest.worker_fixtures import NAME, CountingEncoder

JUST = "ü" * LIMIT_ID  # characters count, not bytes
LONG = JUST + "x"


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.linear_gradient("L").save(path)
    return path


def table(path: Path, header: str, *rows: tuple[str, ...]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header.split(","), *rows])
    return path


def deep(length: int) -> str:
    """A path with this number of characters."""
    name = "/".join(["d" * 99] * (length // 100 - 1)) + "/"
    return name + "f" * (length - len(name) - 4) + ".png"


def image_folder(folder: Path) -> Source:
    for name in ("a.png", deep(LIMIT_ID), deep(LIMIT_ID + 1)):
        picture(folder / name)
    return ImageFolderSource(folder, dataset="own")


def table_of_studies(folder: Path) -> Source:
    rows = [(picture(folder / f"{n}.png").name, study) for n, study in enumerate(("a", JUST, LONG))]
    return TableSource(table(folder / "t.csv", "image,study_id", *rows), images_dir=None, columns={}, dataset="own")


def table_of_images(folder: Path) -> Source:
    rows = [(picture(folder / f"{n}.png").name, image) for n, image in enumerate(("a", JUST, LONG))]
    return TableSource(table(folder / "t.csv", "image,image_id", *rows), images_dir=None, columns={}, dataset="own")


def indiana(folder: Path) -> Source:
    uids = ("1", JUST, LONG)
    names = [picture(folder / "images" / f"{n}.png").name for n in range(3)]
    reports = table(
        folder / "r.csv",
        "uid,MeSH,Problems,image,indication,comparison,findings,impression",
        *((uid, "", "", "", "", "", "Clear.", "") for uid in uids),
    )
    rows = [(uid, name, "Frontal") for uid, name in zip(uids, names, strict=True)]
    projections = table(folder / "p.csv", "uid,filename,projection", *rows)
    return IndianaSource(reports, projections, folder / "images", dataset="own")


@pytest.mark.parametrize("make", [image_folder, table_of_studies, table_of_images, indiana])
def test_an_id_that_is_too_long_is_quarantined_and_the_others_stand(
    make: object, tmp_path: Path, encoder: CountingEncoder, index: EdgeIndex
) -> None:
    assert callable(make)
    (tmp_path / "in").mkdir()
    summary = Worker(encoder, index).run(make(tmp_path / "in"))
    assert (summary.indexed, [each.code for each in summary.quarantined]) == (2, ["id_too_long"])
    detail = summary.quarantined[0].detail
    assert str(LIMIT_ID) in detail
    assert f"{LIMIT_ID + 1} characters" in detail
    stored = index.open(NAME).scroll(Filters(), limit=None)
    lengths = {max(len(each.payload["study_id"]), len(each.payload["image_id"])) for each in stored}
    assert max(lengths) == LIMIT_ID


def test_the_longest_id_is_found_by_its_filter(tmp_path: Path, encoder: CountingEncoder, index: EdgeIndex) -> None:
    (tmp_path / "in").mkdir()
    Worker(encoder, index).run(table_of_studies(tmp_path / "in"))
    collection = index.open(NAME)
    assert [each.payload["study_id"] for each in collection.scroll(Filters(study_id=JUST), limit=None)] == [JUST]


def test_a_study_of_an_older_version_with_such_an_id_is_not_pruned(
    tmp_path: Path, encoder: CountingEncoder, index: EdgeIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    with monkeypatch.context() as older:
        older.setattr("ingest.source_images.LIMIT_ID", 10_000)
        assert Worker(encoder, index).run(image_folder(tmp_path / "in")).indexed == 3
    summary = Worker(encoder, index).run(image_folder(tmp_path / "in"), RunMode(prune=lambda *_: True))
    assert (summary.pruned, [each.code for each in summary.quarantined]) == (0, ["id_too_long"])


def test_dicom_ids_are_short_whatever_the_uids_are(tmp_path: Path) -> None:
    uids = {"StudyInstanceUID": "1." + "9" * 62, "SOPInstanceUID": "1." + "8" * 62}
    (tmp_path / "a.dcm").write_bytes(make_dicom(**uids))
    (image,) = read_images(DicomFolderSource(tmp_path, dataset="own", salt=b"s" * 32))
    assert isinstance(image, SourceImage)
    assert max(len(image.study.study_id), len(image.record.image_id)) <= 64


@pytest.mark.parametrize("length", [201, 1000, 10_000])
def test_a_datasets_name_that_is_too_long_is_refused(tmp_path: Path, length: int) -> None:
    with pytest.raises(InvalidRequest, match=f"200 characters, found {length}"):
        SourceSpec.from_options(images_dir=tmp_path, dataset="d" * length)
    assert SourceSpec.from_options(images_dir=tmp_path, dataset="d" * 200).dataset == "d" * 200


def test_the_file_of_such_an_id_is_named(tmp_path: Path) -> None:
    (found,) = [each for each in read_images(table_of_images(tmp_path)) if isinstance(each, Quarantined)]
    assert found.file == "2.png"
