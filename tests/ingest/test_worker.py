import json

import msgspec
import pytest
from PIL import Image

from archives.indiana import IndianaSource
from ingest.run_mode import RunMode
from ingest.worker import Worker
from retrieval.errors import BundleMismatch, DeviceUnavailable, SourceError
from retrieval.imaging.preprocess import ImagePreprocessor
from retrieval.index.edge.index import EdgeIndex
from retrieval.index.filters import Filters
from retrieval.model.bundle import ModelBundle
from retrieval.model.encoder import Encoder
from tests.conftest import write_tiny_bundle
from tests.ingest.worker_fixtures import NAME, CallOnProgress, contents


def test_every_image_becomes_one_point_and_the_first_collection_is_active(encoder, index, archive, tmp_path):
    summary = Worker(encoder, index, media_dir=tmp_path / "media").run(IndianaSource(**archive))
    assert (summary.indexed, summary.unchanged, summary.quarantined) == (24, 0, [])
    assert index.open(NAME).count() == 24
    assert index.active() == NAME
    assert summary.by_view == index.open(NAME).facet("view")
    assert summary.by_finding == index.open(NAME).facet("present")
    assert len(list((tmp_path / "media").rglob("*.webp"))) == 24


def test_running_twice_changes_nothing(encoder, index, archive):
    worker = Worker(encoder, index)
    worker.run(IndianaSource(**archive))
    before, times, meta = contents(index), times_of_ingest(index), index.open(NAME).meta
    summary = Worker(encoder, index).run(IndianaSource(**archive))
    assert (summary.indexed, summary.updated, summary.unchanged) == (0, 0, 24)
    assert (encoder.image_batches, encoder.texts) == ([], [])
    assert contents(index) == before
    assert times_of_ingest(index) == times
    assert index.open(NAME).meta == meta


def times_of_ingest(index):
    return {point.point_id: point.payload["ingested_at"] for point in index.open(NAME).scroll(limit=None)}


def test_only_changed_images_are_indexed_again(encoder, index, archive):
    Worker(encoder, index).run(IndianaSource(**archive))
    reports = archive["reports_csv"]
    reports.write_text(reports.read_text().replace("Small left pleural effusion.", "Large left pleural effusion.", 1))
    Image.linear_gradient("L").resize((20, 20)).save(archive["images_dir"] / "7_Frontal.png")
    summary = Worker(encoder, index).run(IndianaSource(**archive))
    assert (summary.indexed, summary.updated, summary.unchanged) == (1, 2, 21)
    assert encoder.image_batches == [1]
    payloads = [point.payload for point in index.open(NAME).scroll(Filters(study_id="2"), limit=9)]
    assert {payload["findings"] for payload in payloads} == {"Large left pleural effusion."}


def test_bad_files_are_quarantined_with_a_reason_and_never_become_points(encoder, index, archive):
    images = archive["images_dir"]
    (images / "1_Frontal.png").write_bytes(b"not an image")
    (images / "2_Frontal.png").unlink()
    with archive["projections_csv"].open("a") as file:
        file.write("3,../../etc/passwd,Frontal\n")
    summary = Worker(encoder, index).run(IndianaSource(**archive))
    found = {(item.file, item.code) for item in summary.quarantined}
    assert found == {
        ("1_Frontal.png", "wrong_type"),
        ("2_Frontal.png", "missing_file"),
        ("../../etc/passwd", "path_outside"),
    }
    assert summary.indexed == index.open(NAME).count() == 22


def test_an_interrupted_run_is_finished_by_the_same_command(encoder, index, archive, tmp_path):
    class Cut(Exception):
        pass

    def cut(done, total):
        if done >= 12:
            raise Cut

    def worker(at, home):
        return Worker(encoder, at, home=tmp_path / home, batch_size=4)

    with pytest.raises(Cut):
        worker(index, "cut").run(IndianaSource(**archive), progress=CallOnProgress(cut))
    assert not index.open(NAME).meta.complete
    summary = worker(index, "cut").run(IndianaSource(**archive))
    assert 0 < summary.unchanged < 24
    assert summary.indexed + summary.unchanged == 24
    assert sum(encoder.image_batches) == summary.indexed

    undisturbed = EdgeIndex(tmp_path / "undisturbed")
    worker(undisturbed, "whole").run(IndianaSource(**archive))
    assert contents(index) == contents(undisturbed)
    metas = [msgspec.structs.replace(each.open(NAME).meta, created_at="") for each in (index, undisturbed)]
    assert metas[0] == metas[1]
    assert metas[0].complete and metas[0].calibration and metas[0].counts == {"indiana": 24}
    undisturbed.close()


def test_studies_without_text_have_no_text_vectors(encoder, index, archive):
    Worker(encoder, index).run(IndianaSource(**archive))
    for point in index.open(NAME).scroll(
        Filters(has_report=False), limit=9, vectors=("image", "findings", "impression")
    ):
        assert point.vectors.keys() == {"image"}


def test_another_bundle_is_refused_until_the_collection_is_recreated(encoder, index, archive, tmp_path):
    Worker(encoder, index).run(IndianaSource(**archive))
    other = Encoder(write_tiny_bundle(tmp_path / "other", "tiny", seed=1), device="cpu")
    with pytest.raises(BundleMismatch, match="--recreate"):
        Worker(other, index).run(IndianaSource(**archive))
    assert Worker(other, index).run(IndianaSource(**archive), RunMode(recreate=True)).indexed == 24
    assert index.open(NAME).meta.bundle_id == other.bundle.bundle_id
    assert index.active() == NAME


def test_an_image_only_bundle_is_indexed_without_text_vectors(encoder, index, archive):
    manifest = encoder.bundle.path("manifest.json")
    document = json.loads(manifest.read_text())
    document["tokenization"] = None
    manifest.write_text(json.dumps(document))
    images_only = Encoder(ModelBundle.load(encoder.bundle.folder), device="cpu")
    Worker(images_only, index).run(IndianaSource(**archive))
    assert all(p.vectors.keys() == {"image"} for p in index.open(NAME).scroll(limit=99, vectors=("image", "findings")))


def test_a_model_that_cannot_run_costs_no_collection(encoder, index, archive, monkeypatch):
    Worker(encoder, index).run(IndianaSource(**archive))

    def refuse(*_):
        raise DeviceUnavailable("no such device")

    monkeypatch.setattr(Encoder, "warm_up", refuse)
    with pytest.raises(DeviceUnavailable):
        Worker(encoder, index).run(IndianaSource(**archive), RunMode(recreate=True))
    assert index.open(NAME).count() == 24


def test_an_archive_without_one_usable_image_leaves_no_collection(encoder, index, archive, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    source = IndianaSource(**archive | {"images_dir": tmp_path / "elsewhere"})
    with pytest.raises(SourceError, match="none of 24 images"):
        Worker(encoder, index).run(source)
    assert index.collections() == {}
    assert index.active() is None


def test_an_image_too_elongated_for_the_model_is_quarantined(tmp_path, index, archive):
    bundle = write_tiny_bundle(tmp_path / "models", "tiny", seed=0)
    encoder = Encoder(bundle, device="cpu", threads=1)
    encoder.preprocess = ImagePreprocessor(
        msgspec.structs.replace(bundle.manifest.preprocessing, mode="shortest_side_crop")
    )
    Image.linear_gradient("L").resize((1, 9_000_000)).save(archive["images_dir"] / "1_Frontal.png")
    summary = Worker(encoder, index).run(IndianaSource(**archive))
    assert [(item.file, item.code) for item in summary.quarantined] == [("1_Frontal.png", "image_too_large")]
    assert summary.indexed == 23
