"""Several files with one image id: the first readable file is indexed, and the others are duplicates."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import MPEG2MPML

from archives.dicom.folder import DicomFolderSource
from archives.tables.source import TableSource
from ingest.ledger import Ledger, ledger_path
from ingest.run_mode import RunMode
from ingest.summary import IngestSummary
from ingest.worker import Worker
from retrieval.index.edge.index import EdgeIndex
from retrieval.records import Source
from tests.dicom_files import encode_dataset, make_compressed_dicom, make_dataset, make_dicom
from tests.ingest.worker_fixtures import NAME, CountingEncoder

PIXELS = np.tile(np.arange(64, dtype=np.uint16) * 60, (64, 1))
UID = {"SOPInstanceUID": "1.2.3.4", "StudyInstanceUID": "1.2.3"}


def good() -> bytes:
    return make_dicom(PIXELS, **UID)


# Files with a good header and a bad image, by error code.
BAD: dict[str, Callable[[], bytes]] = {
    "truncated_image": lambda: good()[:-2000],
    "burned_in": lambda: make_dicom(PIXELS, BurnedInAnnotation="YES", **UID),
    "no_pixels": lambda: encode_dataset(make_dataset(None, **UID)),
    "unsupported_transfer_syntax": lambda: make_compressed_dicom(make_dataset(PIXELS, **UID), bytes(100), MPEG2MPML),
    "bad_pixel_description": lambda: make_dicom(PIXELS, BitsAllocated=12, **UID),
}


class Archive:
    """A folder of copies, a collection, and the result of the last run."""

    def __init__(self, folder: Path, encoder: CountingEncoder, index: EdgeIndex) -> None:
        self.folder = folder / "archive"
        self.folder.mkdir()
        self._home = folder / "home"
        self._worker = Worker(encoder, index, home=self._home, batch_size=2)
        self._index = index

    def put(self, **files: bytes) -> None:
        for name, content in files.items():
            (self.folder / f"{name}.dcm").write_bytes(content)

    def source(self) -> Source:
        return DicomFolderSource(self.folder, dataset="dicom", salt=b"s" * 32)

    def run(self, *only: str) -> tuple[IngestSummary, dict[str, str]]:
        summary = self._worker.run(self.source(), RunMode(retry=frozenset(only) if only else None))
        return summary, {item.file: item.code for item in summary.quarantined}

    def indexed(self) -> list[str]:
        """The files in the ledger for the points of the index."""
        with Ledger(ledger_path(self._home, self._index.location, NAME)) as ledger:
            rows = ledger.rows("dicom", [path.name for path in self.folder.iterdir()])
            points = [point.payload for point in self._index.open(NAME).scroll(limit=None)]
            assert {row.sha256 for row in rows.values()} == {payload["image_sha256"] for payload in points}
            return sorted(rows)


@pytest.fixture
def archive(tmp_path: Path, encoder: CountingEncoder, index: EdgeIndex) -> Archive:
    return Archive(tmp_path, encoder, index)


@pytest.mark.parametrize("code", BAD)
@pytest.mark.parametrize("order", ["first", "last"])
def test_the_good_copy_is_indexed_whichever_comes_first(archive: Archive, code: str, order: str) -> None:
    bad, whole = ("a", "b") if order == "first" else ("b", "a")
    archive.put(**{bad: BAD[code](), whole: good()})
    summary, quarantined = archive.run()
    assert (summary.indexed, archive.indexed()) == (1, [f"{whole}.dcm"])
    # A copy of an indexed file is not read.
    assert quarantined == {f"{bad}.dcm": code if order == "first" else "duplicate_id"}


@pytest.mark.parametrize("order", set(itertools.permutations(["good", "good", "cut"])))
def test_of_three_copies_the_first_good_one_is_indexed(archive: Archive, order: tuple[str, ...]) -> None:
    archive.put(**{name: good() if kind == "good" else good()[:-2000] for name, kind in zip("abc", order, strict=True)})
    summary, quarantined = archive.run()
    used = "abc"[order.index("good")]
    assert archive.indexed() == [f"{used}.dcm"]
    assert summary.indexed == 1
    assert quarantined == {
        f"{name}.dcm": "truncated_image" if kind == "cut" and name < used else "duplicate_id"
        for name, kind in zip("abc", order, strict=True)
        if name != used
    }


def test_if_no_copy_is_readable_each_has_its_own_error_code(archive: Archive) -> None:
    archive.put(a=good()[:-2000], b=BAD["burned_in"](), c=b"", z=make_dicom(PIXELS, SOPInstanceUID="1.9"))
    assert archive.run()[1] == {"a.dcm": "truncated_image", "b.dcm": "burned_in", "c.dcm": "empty_file"}


def test_a_good_copy_that_arrives_later_is_indexed_and_stays_while_the_first_is_bad(archive: Archive) -> None:
    archive.put(a=good()[:-2000], z=make_dicom(PIXELS, SOPInstanceUID="1.9"))
    assert archive.run()[0].indexed == 1
    archive.put(b=good())
    assert archive.run()[0].indexed == 1
    assert archive.indexed() == ["b.dcm", "z.dcm"]
    summary, quarantined = archive.run()
    assert (summary.unchanged, quarantined) == (2, {"a.dcm": "truncated_image"})
    archive.put(a=make_dicom(PIXELS[::-1].copy(), **UID))  # repaired
    summary, quarantined = archive.run()
    assert (summary.indexed, summary.unchanged, quarantined) == (1, 1, {"b.dcm": "duplicate_id"})
    assert archive.indexed() == ["a.dcm", "z.dcm"]


def test_a_good_copy_replaces_one_that_went_bad(archive: Archive) -> None:
    archive.put(a=good(), b=make_dicom(PIXELS[::-1].copy(), **UID))
    assert archive.run()[1] == {"b.dcm": "duplicate_id"}
    archive.put(a=good()[:-2000])
    assert archive.run()[1] == {"a.dcm": "truncated_image"}
    assert archive.indexed() == ["b.dcm"]


def test_retry_reads_a_repaired_copy_and_leaves_a_duplicate_alone(archive: Archive) -> None:
    archive.put(a=good()[:-2000], b=good(), c=make_dicom(PIXELS[::-1].copy(), **UID))
    assert archive.run()[1] == {"a.dcm": "truncated_image", "c.dcm": "duplicate_id"}
    summary, quarantined = archive.run("c.dcm")
    assert (summary.indexed, quarantined) == (0, {"a.dcm": "truncated_image", "c.dcm": "duplicate_id"})
    assert archive.indexed() == ["b.dcm"]
    archive.put(a=make_dicom(PIXELS // 2, **UID))
    summary, quarantined = archive.run("a.dcm")
    assert (summary.indexed, quarantined) == (1, {"b.dcm": "duplicate_id", "c.dcm": "duplicate_id"})
    assert archive.indexed() == ["a.dcm"]


class Cases(Archive):
    """A table of images instead of DICOM files."""

    def source(self) -> Source:
        return TableSource(self.folder / "cases.csv", images_dir=None, columns={}, dataset="dicom")


@pytest.mark.parametrize("bad", [b"", b"not an image", None], ids=["empty", "text", "missing"])
def test_a_table_that_lists_one_id_twice_gives_the_row_whose_file_can_be_read(
    tmp_path: Path, encoder: CountingEncoder, index: EdgeIndex, bad: bytes | None
) -> None:
    cases = Cases(tmp_path, encoder, index)
    Image.fromarray((PIXELS // 16).astype(np.uint8)).save(cases.folder / "b.png")
    Image.fromarray((PIXELS[::-1] // 16).astype(np.uint8)).save(cases.folder / "c.png")
    if bad is not None:
        (cases.folder / "a.png").write_bytes(bad)
    rows = ["image,image_id,study_id,findings", "a.png,x,1,One.", "b.png,x,2,Two.", "c.png,x,3,Three."]
    (cases.folder / "cases.csv").write_text("\n".join(rows))
    summary, quarantined = cases.run()
    assert (summary.indexed, quarantined.pop("c.png"), quarantined.keys()) == (1, "duplicate_id", {"a.png"})
    (point,) = index.open(NAME).scroll(limit=None)
    assert (point.payload["study_id"], point.payload["findings"]) == ("2", "Two.")
