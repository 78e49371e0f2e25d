"""Snapshots: both engines restore them, and a damaged or hostile file changes nothing."""

import io
import os
import stat
import zipfile
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest import snapshot as snapshots
from ingest.snapshot import Snapshot, create_snapshot, open_snapshot, restore_snapshot
from ingest.transfer import LoadOptions
from retrieval.errors import (
    CollectionExists,
    IndexFailure,
    InvalidRequest,
    MissingFile,
    SnapshotDamaged,
    TransferFailed,
)
from retrieval.index.schema import DENSE_VECTORS, CollectionLayout, CollectionMeta
from tests.congruence.conftest import META, NAME
from tests.congruence.test_lifecycle import expected_terms, terms
from tests.retrieval.engines import COUNT, WHOLE, contents, load, new_index, points_of_reports

POINTS = points_of_reports()


@pytest.fixture(scope="session")
def file(tmp_path_factory):
    """A snapshot of an embedded collection; tests copy it before they change it."""
    folder = tmp_path_factory.mktemp("snapshot")
    index = new_index("edge", folder / "index")
    create_snapshot(load(index, POINTS), folder / "whole.zip")
    index.close()
    return folder / "whole.zip"


@pytest.fixture(params=["edge", "local"])
def target(request, tmp_path):
    """An empty index of each engine."""
    index = new_index(request.param, tmp_path / "target")
    yield index
    index.close()


@pytest.mark.parametrize("engine", ["edge", "local"])
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


def test_the_file_is_a_plain_zip_that_others_can_read(file):
    with zipfile.ZipFile(file) as archive:
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


def test_only_the_owner_can_read_the_reports(file):
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_an_existing_file_is_replaced_only_by_a_complete_one(tmp_path, file):
    path = tmp_path / "case.zip"
    path.write_bytes(b"the one of yesterday")
    index = new_index("local", tmp_path / "index")
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


def test_a_file_that_could_not_be_restored_is_not_written(tmp_path, monkeypatch):
    index = new_index("local", tmp_path / "index")
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


def test_an_existing_collection_is_replaced_only_with_recreate(file, target):
    load(target, POINTS[:3])
    target.activate(NAME)
    with pytest.raises(CollectionExists, match="--recreate"):
        restore_snapshot(file, target)
    assert target.open(NAME).count() == 3
    done = restore_snapshot(file, target, LoadOptions(recreate=True))
    assert target.open(NAME).count() == COUNT
    assert done.active and target.active() == NAME


def test_the_layout_comes_from_the_file_unless_an_option_is_given(tmp_path, file):
    origin, target = new_index("edge", tmp_path / "a"), new_index("edge", tmp_path / "b")
    quantised = origin.create(META, name=NAME, layout=CollectionLayout(quantization="int8"))
    quantised.upsert(POINTS[:5])
    create_snapshot(quantised, tmp_path / "case.zip")
    restore_snapshot(tmp_path / "case.zip", target)
    assert target.collections()[NAME].layout.quantization == "int8"
    with pytest.raises(InvalidRequest, match="--index"):
        restore_snapshot(file, target, LoadOptions(recreate=True, shards=2))
    assert target.open(NAME).count() == 5
    restore_snapshot(file, target, LoadOptions(recreate=True, quantization="none"))
    assert target.collections()[NAME].layout.quantization == "none"
    origin.close()
    target.close()


def test_a_failed_restore_leaves_no_collection(file, target, monkeypatch):
    kind = type(target.create(META, name="cxr_kind"))
    target.drop("cxr_kind")
    upsert = kind.upsert
    monkeypatch.setattr(kind, "upsert", lambda self, points: upsert(self, points[1:]))
    with pytest.raises(TransferFailed):
        restore_snapshot(file, target)
    assert target.collections() == {}
    monkeypatch.setattr(kind, "upsert", upsert)

    def stop(done, total):
        assert not target.collections()[NAME].complete
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore_snapshot(file, target, progress=stop)
    assert target.collections() == {}
    assert restore_snapshot(file, target).sent == COUNT


def rewritten(file, change):
    """The zip with entries changed by `change(name, data)`, with valid checksums; None leaves an entry out."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as changed:
        for name in archive.namelist():
            data = change(name, archive.read(name))
            if data is not None:
                changed.writestr(name, data)
    return buffer.getvalue()


def manifest_with(**values):
    def change(name, data):
        return msgspec.json.encode(msgspec.json.decode(data) | values) if name == "head.json" else data

    return change


def page_with(edit):
    def change(name, data):
        if name != "points/000001.msgpack":
            return data
        page = msgspec.msgpack.decode(data)
        edit(page)
        return msgspec.msgpack.encode(page)

    return change


DAMAGES = {
    "a head without its format": (lambda n, d: b"{}" if n == "head.json" else d, "format None"),
    "a manifest of a later format": (manifest_with(format=2), "format 2; this version reads format 1"),
    "no head": (lambda n, d: None if n == "head.json" else d, "head.json"),
    "a head that is no JSON": (lambda n, d: b"\xff\xfe" if n == "head.json" else d, "damaged"),
    "a head that is a list": (lambda n, d: b"[]" if n == "head.json" else d, "damaged"),
    "a head too large": (lambda n, d: b" " * (1 << 20) + d if n == "head.json" else d, "limit"),
    "a page missing": (lambda n, d: None if n.endswith("1.msgpack") else d, "points/000001"),
    "a page no longer announced": (manifest_with(pages=2), "holds 400 points, and its manifest says 450"),
    "another number of points": (manifest_with(points=451), "says 451"),
    "other counts": (manifest_with(counts={"even": 450}), "damaged"),
    "a page that is no list": (page_with(lambda page: page.clear()), "holds 250 points"),
    "a point twice": (page_with(lambda page: page.__setitem__(1, page[0])), "out of order"),
    "points in another order": (page_with(lambda page: page.reverse()), "out of order"),
    "an id that is none": (page_with(lambda page: page[0].update(id="../../x")), "damaged"),
    "an id in another spelling": (
        page_with(lambda page: page[0].update(id=page[0]["id"].upper())),
        "not the id of a point",
    ),
    "a short vector": (page_with(lambda page: page[0]["vectors"].update(image=b"12")), "no valid vector"),
    "a torn vector": (page_with(lambda page: page[0]["vectors"].update(image=b"123")), "damaged"),
    "a vector of nothing": (
        page_with(lambda page: page[0]["vectors"].update(image=b"\xff\x7f" * 24)),
        "no valid vector 'image'",
    ),
    "an unknown vector": (page_with(lambda page: page[0]["vectors"].update(audio=b"0" * 48)), "audio"),
    "a payload without a field": (page_with(lambda page: page[0]["payload"].pop("study_id")), "study_id"),
    "a payload of another type": (page_with(lambda page: page[0]["payload"].update(present="x")), "damaged"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_file_is_named_and_changes_nothing(file, target, tmp_path, name):
    change, message = DAMAGES[name]
    path = tmp_path / "case.zip"
    path.write_bytes(rewritten(file, change))
    load(target, POINTS[:3])
    with pytest.raises(SnapshotDamaged, match=message) as caught:
        restore_snapshot(path, target, LoadOptions(recreate=True))
    assert "case.zip" in str(caught.value)
    assert target.collections() == {NAME: WHOLE}
    assert target.open(NAME).count() == 3


def test_a_missing_file_and_another_kind_of_file_are_different_errors(target, tmp_path):
    with pytest.raises(MissingFile, match="nowhere"):
        restore_snapshot(tmp_path / "nowhere.zip", target)
    for content in (b"", b"PK", b"uid,filename\n", bytes(5000)):
        (tmp_path / "other").write_bytes(content)
        with pytest.raises(SnapshotDamaged, match="not a snapshot"):
            restore_snapshot(tmp_path / "other", target)
    assert target.collections() == {}


def test_a_model_name_cannot_lead_out_of_the_index(file, tmp_path):
    index = new_index("edge", tmp_path / "deep" / "index")
    path = tmp_path / "case.zip"
    path.write_bytes(rewritten(file, manifest_with(meta=msgspec.to_builtins(WHOLE) | {"model": "/../../escaped"})))
    with pytest.raises(InvalidRequest, match="not a valid name"):
        restore_snapshot(path, index)
    assert not list(tmp_path.rglob("*escaped*"))


def test_a_zip_bomb_is_not_unpacked(file, tmp_path, monkeypatch):
    path = tmp_path / "case.zip"
    path.write_bytes(rewritten(file, lambda n, d: bytes(70 << 20) if n.endswith("0.msgpack") else d))
    assert path.stat().st_size < 1 << 20
    monkeypatch.setattr(zipfile.ZipFile, "read", refuse_large(zipfile.ZipFile.read))
    with open_snapshot(path) as opened, pytest.raises(SnapshotDamaged, match="announces 73,400,320 bytes, the limit"):
        opened.check()


def refuse_large(read):
    def checked(self, entry):
        assert entry.file_size < 1 << 20, "unpacked"
        return read(self, entry)

    return checked


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_changed_byte_and_every_truncation_is_detected(file, data):
    whole = file.read_bytes()
    if data.draw(st.booleans()):
        damaged = whole[: data.draw(st.integers(0, len(whole) - 1))]
    else:
        # Half of the changes hit the last kilobyte, where the table of contents lies.
        position = data.draw(st.one_of(st.integers(0, len(whole) - 1), st.integers(len(whole) - 1000, len(whole) - 1)))
        flipped = whole[position] ^ data.draw(st.integers(1, 255))
        damaged = whole[:position] + bytes([flipped]) + whole[position + 1 :]
    try:
        with Snapshot(io.BytesIO(damaged), file) as opened:
            opened.check()
            found = list(opened.points())
    except SnapshotDamaged:
        return
    # A byte that carries nothing, such as a time: what is read is what was written.
    with open_snapshot(file) as original:
        assert [msgspec.to_builtins(p.payload) for p in found] == [
            msgspec.to_builtins(p.payload) for p in original.points()
        ]
        for one, other in zip(found, original.points(), strict=True):
            assert one.point_id == other.point_id
            assert {n: v.tobytes() for n, v in one.vectors.items()} == {
                n: v.tobytes() for n, v in other.vectors.items()
            }


def test_float16_loses_nothing_of_vectors_that_the_engine_keeps_in_float16(file, tmp_path):
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
