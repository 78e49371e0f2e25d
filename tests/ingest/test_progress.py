"""A run reports every long stage, from the scan of the archive to the calibration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from archives.source_spec import SourceSpec
from ingest.run_mode import RunMode
from ingest.worker import Worker
from tests.dicom_files import make_dicom
from tests.ingest.worker_fixtures import CallOnProgress, RecordedProgress

FILES = 5
INGEST = ["Checking the source", "Indexing", "Optimizing the index", "Calibrating scores"]


@pytest.fixture
def archive(tmp_path: Path) -> SourceSpec:
    folder = tmp_path / "dicom"
    folder.mkdir()
    for number in range(1, FILES + 1):
        pixels = np.random.default_rng(number).integers(0, 4000, (48, 40), dtype=np.uint16)
        (folder / f"{number}.dcm").write_bytes(make_dicom(pixels, AccessionNumber=str(number)))
    table = tmp_path / "reports.csv"
    table.write_text("accession_number,findings\n" + "".join(f"{number},Clear.\n" for number in range(1, FILES + 1)))
    return SourceSpec.from_options(dicom_dir=folder, reports_csv=table)


def test_a_run_reports_its_stages_from_scan_to_finish(archive, encoder, index, tmp_path):
    progress = RecordedProgress()
    source = archive.open(tmp_path, progress)
    worker = Worker(encoder, index, home=tmp_path, batch_size=2)
    worker.run(source, spec=archive, progress=progress)
    assert progress.titles == ["Listing files", "Scanning DICOM headers", "Matching reports", *INGEST]
    assert progress.counts("Scanning DICOM headers")[-1] == (FILES, FILES)
    assert progress.counts("Matching reports")[-1] == (FILES, FILES)
    assert progress.counts("Indexing") == [(2, FILES), (4, FILES), (FILES, FILES)]


def test_a_prune_reports_the_search_for_images_and_their_removal(archive, encoder, index, tmp_path):
    worker = Worker(encoder, index, home=tmp_path)
    worker.run(archive.open(tmp_path), spec=archive)
    (tmp_path / "dicom" / "1.dcm").unlink()
    progress = RecordedProgress()
    mode = RunMode(prune=lambda gone, total: True)
    assert worker.run(archive.open(tmp_path), mode, spec=archive, progress=progress).pruned == 1
    assert progress.titles == [*INGEST[:2], "Looking for images to remove", "Removing", *INGEST[2:]]
    assert progress.counts("Removing") == [(1, 1)]


def test_a_retry_and_the_end_of_a_shared_ingest_report_their_stages(archive, encoder, index, tmp_path):
    worker = Worker(encoder, index, home=tmp_path)
    for part in (1, 2):
        worker.run(archive.open(tmp_path), RunMode(part=(part, 2)), spec=archive)
    progress = RecordedProgress()
    worker.finish(progress)
    assert progress.titles == INGEST[2:]
    progress = RecordedProgress()
    source = archive.open(tmp_path)
    worker.run(source, RunMode(retry=frozenset({"1.dcm"})), spec=archive, progress=progress)
    assert progress.titles == ["Checking the source", "Reading quarantined files again"]
    assert progress.counts("Reading quarantined files again") == [(1, 1)]


def test_an_interruption_between_two_stages_ends_the_run(archive, encoder, index, tmp_path):
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        archive.open(tmp_path, CallOnProgress(interrupt))
    assert index.collections() == {}
