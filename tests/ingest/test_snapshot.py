"""Snapshots: both engines restore them; a file is complete or absent."""

import os
import stat
import zipfile
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from ingest import snapshot as snapshots
from ingest.snapshot import create_snapshot, open_snapshot, restore_snapshot
from ingest.transfer import LoadOptions
from retrieval.errors import (
    CollectionExists,
    IndexFailure,
    InvalidRequest,
    SnapshotDamaged,
    TransferFailed,
)
from retrieval.index.schema import DENSE_VECTORS, CollectionLayout, CollectionMeta
from tests.congruence.conftest import META, NAME
from tests.congruence.stored_points import expected_terms, terms
from tests.retrieval.engines import COUNT, WHOLE, contents, load, new_index, points_of_reports

POINTS = points_of_reports()


@pytest.mark.parametrize("engine", ["edge", "server"])
def test_both_engines_restore_snapshots_of_both(engine, target, tmp_path):
    origin = new_index(engine, tmp_path / "origin")
    source = load(origin, POINTS)
    seen = []
    made = create_snapshot(source, tmp_path / "new" / "case.zip", progress=lambda *count: seen.append(count))
    assert (made.points, made.counts, made.complete) == (COUNT, WHOLE.counts, True)
    assert made.size_bytes == (tmp_path / "new" / "case.zip").stat().st_size
    assert seen == [(200, COUNT), (400, COUNT), (COUNT, COUNT)]
    done = restore_snapshot(tmp_path / "new" / "case.zip", target)
    assert (done.images, done.sent, done.verified) == (COUNT, COUNT, 256)
    assert done.active and target.active() == NAME
    assert target.collections() == {NAME: WHOLE}
    copy = target.open(NAME)
    expected, copied = contents(source), contents(copy)
    assert copied.keys() == expected.keys()
    for point_id, (payload, vectors) in expected.items():
        assert copied[point_id][0] == payload
        assert copied[point_id][1].keys() == vectors.keys()
        for name, vector in vectors.items():
            np.testing.assert_allclose(copied[point_id][1][name], vector, atol=1e-3)
    for point in POINTS[:30]:
        text = point.payload.report_text
        assert terms(copy, point.point_id) == (expected_terms(text) if text else {})
    origin.close()


def test_the_file_is_a_plain_zip_that_others_can_read(snapshot_file):
    with zipfile.ZipFile(snapshot_file) as archive:
        assert archive.namelist() == [*(f"points/{n:06}.msgpack" for n in range(3)), "head.json"]
        head = msgspec.json.decode(archive.read("head.json"))
        page = msgspec.msgpack.decode(archive.read("points/000000.msgpack"))
    assert (head["format"], head["points"], head["pages"]) == (1, COUNT, 3)
    assert msgspec.convert(head["meta"], CollectionMeta) == WHOLE
    assert head["counts"] == WHOLE.counts
    assert "qdrant-edge-py" in head["versions"]
    original = {point.point_id: point for point in POINTS}
    for packed in page:
        point = original[packed["id"]]
        assert packed["payload"] == msgspec.to_builtins(point.payload)
        assert packed["vectors"].keys() == point.vectors.keys()
        for name, data in packed["vectors"].items():
            np.testing.assert_allclose(np.frombuffer(data, "<f2"), point.vectors[name], atol=2e-3)


def test_only_the_owner_can_read_the_reports(snapshot_file):
    assert stat.S_IMODE(snapshot_file.stat().st_mode) == 0o600


def test_an_existing_file_is_replaced_only_by_a_complete_one(tmp_path, snapshot_file):
    path = tmp_path / "case.zip"
    path.write_bytes(b"the one of yesterday")
    index = new_index("server", tmp_path / "index")
    with pytest.raises(IndexFailure, match="empty"):
        create_snapshot(index.create(META, name=NAME), path)
    index.drop(NAME)
    source = load(index, POINTS[:5])

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        create_snapshot(source, path, progress=stop)
    assert path.read_bytes() == b"the one of yesterday"
    assert os.listdir(tmp_path) == ["case.zip"]
    create_snapshot(source, path)
    with open_snapshot(path) as written:
        assert written.manifest.points == 5
    index.close()


def test_a_file_that_could_not_be_restored_is_not_written(tmp_path, monkeypatch):
    index = new_index("server", tmp_path / "index")
    collection = load(index, POINTS[:5])
    scroll = type(collection).scroll

    def scroll_large(self, *arguments, **options):
        for stored in scroll(self, *arguments, **options):
            yield replace(stored, vectors={name: vector * 1e9 for name, vector in stored.vectors.items()})

    # A half float ends at 65504: what cannot be kept is told now, and not on the day the file is needed.
    monkeypatch.setattr(type(collection), "scroll", scroll_large)
    with pytest.raises(SnapshotDamaged, match="no valid vector"), np.errstate(over="ignore"):
        create_snapshot(collection, tmp_path / "case.zip")
    assert not list(tmp_path.iterdir())
    index.close()


def test_an_existing_collection_is_replaced_only_with_recreate(snapshot_file, target):
    load(target, POINTS[:3])
    target.activate(NAME)
    with pytest.raises(CollectionExists, match="--recreate"):
        restore_snapshot(snapshot_file, target)
    assert target.open(NAME).count() == 3
    done = restore_snapshot(snapshot_file, target, LoadOptions(recreate=True))
    assert target.open(NAME).count() == COUNT
    assert done.active and target.active() == NAME


def test_the_layout_comes_from_the_file_unless_an_option_is_given(tmp_path, snapshot_file):
    origin, target = new_index("edge", tmp_path / "a"), new_index("edge", tmp_path / "b")
    quantised = origin.create(META, name=NAME, layout=CollectionLayout(quantization="int8"))
    quantised.upsert(POINTS[:5])
    create_snapshot(quantised, tmp_path / "case.zip")
    restore_snapshot(tmp_path / "case.zip", target)
    assert target.collections()[NAME].layout.quantization == "int8"
    with pytest.raises(InvalidRequest, match="--index"):
        restore_snapshot(snapshot_file, target, LoadOptions(recreate=True, shards=2))
    assert target.open(NAME).count() == 5
    restore_snapshot(snapshot_file, target, LoadOptions(recreate=True, quantization="none"))
    assert target.collections()[NAME].layout.quantization == "none"
    origin.close()
    target.close()


def test_a_failed_restore_leaves_no_collection(snapshot_file, target, monkeypatch):
    kind = type(target.create(META, name="cxr_kind"))
    target.drop("cxr_kind")
    upsert = kind.upsert
    monkeypatch.setattr(kind, "upsert", lambda self, points: upsert(self, points[1:]))
    with pytest.raises(TransferFailed):
        restore_snapshot(snapshot_file, target)
    assert target.collections() == {}
    monkeypatch.setattr(kind, "upsert", upsert)

    def stop(done, total):
        assert not target.collections()[NAME].complete
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore_snapshot(snapshot_file, target, progress=stop)
    assert target.collections() == {}
    assert restore_snapshot(snapshot_file, target).sent == COUNT


def test_float16_loses_nothing_of_vectors_that_the_engine_keeps_in_float16(snapshot_file, tmp_path):
    index = new_index("edge", tmp_path / "index")
    source = load(index, POINTS[:20])
    create_snapshot(source, tmp_path / "case.zip")
    stored = source.retrieve([point.point_id for point in POINTS[:20]], vectors=DENSE_VECTORS)
    with open_snapshot(tmp_path / "case.zip") as written:
        for point in written.points():
            for name, vector in point.vectors.items():
                assert vector.tobytes() == stored[point.point_id].vectors[name].tobytes()
    index.close()


def test_versions_of_missing_packages_are_left_out(monkeypatch):
    def missing(name):
        raise snapshots.PackageNotFoundError(name)

    monkeypatch.setattr(snapshots, "version", missing)
    assert snapshots._versions() == {}
