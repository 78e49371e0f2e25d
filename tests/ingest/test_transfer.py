"""Copying a collection from index to index: complete copies, resumed ones, refusals, detected errors."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from ingest import transfer
from ingest.copied_points import to_point
from ingest.transfer import LoadOptions, push
from retrieval.errors import BundleMismatch, IndexFailure, InvalidRequest, TransferFailed
from retrieval.index.schema import CollectionLayout
from retrieval.index.search_request import SearchRequest, VectorSignal
from retrieval.index.server.collection import ServerCollection
from tests.congruence.conftest import META, NAME, unit_vectors
from tests.congruence.stored_points import expected_terms, terms
from tests.retrieval.engines import COUNT, WHOLE, contents, load, new_index, points_of_reports

POINTS = points_of_reports()
PAIRS = [("edge", "server"), ("server", "edge"), ("edge", "edge"), ("server", "server")]


@pytest.fixture(params=PAIRS, ids="->".join)
def pair(request, tmp_path):
    """A loaded collection and an empty index, of each engine to each."""
    indexes = [new_index(engine, tmp_path / str(n)) for n, engine in enumerate(request.param)]
    yield load(indexes[0], POINTS), indexes[1]
    for index in indexes:
        index.close()


@pytest.fixture
def upward(tmp_path):
    """From the embedded engine to a server."""
    indexes = [new_index(engine, tmp_path / engine) for engine in ("edge", "server")]
    yield load(indexes[0], POINTS), indexes[1]
    for index in indexes:
        index.close()


def assert_equal(copy, original):
    copied, expected = contents(copy), contents(original)
    assert copied.keys() == expected.keys()
    for point_id, (payload, vectors) in expected.items():
        assert copied[point_id][0] == payload
        assert copied[point_id][1].keys() == vectors.keys()
        for name, vector in vectors.items():
            np.testing.assert_allclose(copied[point_id][1][name], vector, atol=1e-3)


def test_a_copy_has_every_point_and_the_record_of_the_original(pair):
    source, index = pair
    seen = []
    done = push(source, index, progress=lambda *count: seen.append(count))
    copy = index.open(NAME)
    assert_equal(copy, source)
    assert index.collections() == {NAME: WHOLE}
    assert (done.images, done.sent, done.unchanged, done.kept) == (COUNT, COUNT, 0, 0)
    assert done.verified == transfer.SAMPLE >= 200
    assert done.counts == {"even": 226, "odd": 224} and done.complete
    assert seen == [(200, COUNT), (400, COUNT), (COUNT, COUNT)]
    for point in POINTS[:30]:
        expected = expected_terms(point.payload.report_text) if point.payload.report_text else {}
        assert terms(copy, point.point_id) == expected
    request = SearchRequest(signals=(VectorSignal("image", unit_vectors(1, seed=3)[0], 1.0),), limit=5)
    mine, theirs = source.search(request), copy.search(request)
    np.testing.assert_allclose([hit.score for hit in theirs], [hit.score for hit in mine], atol=2e-3)


def test_a_second_push_sends_nothing(pair):
    source, index = pair
    push(source, index)
    again = push(source, index)
    assert (again.sent, again.unchanged, again.verified) == (0, COUNT, transfer.SAMPLE)
    assert index.collections() == {NAME: WHOLE}


class Killed(Exception):
    pass


def kill_after(images):
    def progress(done, total):
        if done >= images:
            raise Killed

    return progress


def test_a_killed_push_continues_and_is_incomplete_until_it_ends(pair, monkeypatch):
    source, index = pair
    monkeypatch.setattr(ServerCollection, "writers", 1)  # with more, pages are sent ahead
    with pytest.raises(Killed):
        push(source, index, progress=kill_after(200))
    half = index.collections()[NAME]
    assert index.open(NAME).count() == 200
    assert not half.complete and half.counts == {} and half.bundle_id == META.bundle_id
    assert index.active() is None
    sent, kind = [], type(index.open(NAME))
    upsert = kind.upsert
    monkeypatch.setattr(kind, "upsert", lambda self, page: (sent.extend(p.point_id for p in page), upsert(self, page)))
    rest = push(source, index)
    assert sorted(sent) == sorted(point.point_id for point in POINTS)[200:]
    assert (rest.sent, rest.unchanged) == (COUNT - 200, 200)
    assert_equal(index.open(NAME), source)
    assert index.collections() == {NAME: WHOLE}


def test_only_changed_points_are_sent_and_the_copy_is_incomplete_meanwhile(pair):
    source, index = pair
    push(source, index)
    (vector,) = unit_vectors(1, seed=50)
    payload = msgspec.structs.replace(POINTS[4].payload, findings="nodule", ingested_at="2026-02-02T00:00:00+00:00")
    changed = replace(POINTS[4], vectors={"findings": vector}, text=payload.report_text, payload=payload)
    source.replace_reports([changed])
    marks = []
    done = push(source, index, progress=lambda *_: marks.append(index.collections()[NAME].complete))
    assert (done.sent, done.unchanged) == (1, COUNT - 1)
    assert not marks[-1] and index.collections()[NAME].complete
    assert_equal(index.open(NAME), source)
    assert terms(index.open(NAME), changed.point_id) == expected_terms(payload.report_text)


def test_the_first_copy_becomes_active_and_later_ones_do_not(upward):
    source, index = upward
    other = index.create(META, name="cxr_other")
    index.activate(other.name)
    assert not push(source, index).active
    assert index.active() == other.name
    index.drop(other.name)
    assert push(source, index).active
    assert index.active() == NAME


def test_a_copy_of_an_incomplete_collection_is_incomplete_and_not_active(upward):
    source, index = upward
    source.record(msgspec.structs.replace(WHOLE, complete=False))
    done = push(source, index)
    assert not done.complete and not done.active
    assert not index.collections()[NAME].complete
    assert index.active() is None


def test_points_that_only_the_target_has_are_kept_and_counted(upward):
    source, index = upward
    push(source, index)
    gone = [point.point_id for point in POINTS if point.payload.dataset == "odd"]
    source.delete(gone)
    source.record(msgspec.structs.replace(WHOLE, counts={"even": 226}))
    done = push(source, index)
    assert (done.images, done.sent, done.kept) == (226, 0, 224)
    assert done.counts == {"even": 226, "odd": 224} == index.collections()[NAME].counts
    # The scales are those of the mixture, not of the part that was pushed.
    assert index.collections()[NAME].calibration["image/image"] != WHOLE.calibration["image/image"]
    fresh = push(source, index, LoadOptions(recreate=True))
    assert (fresh.sent, fresh.kept, fresh.counts) == (226, 0, {"even": 226})
    assert index.open(NAME).count() == 226


def test_a_collection_of_another_bundle_is_refused_without_recreate(upward):
    source, index = upward
    theirs = index.create(msgspec.structs.replace(META, bundle_id="b2"), name=NAME)
    theirs.upsert(POINTS[:3])
    index.activate(NAME)
    with pytest.raises(BundleMismatch, match=r"b2.*b1.*--recreate"):
        push(source, index)
    assert index.open(NAME).count() == 3
    assert push(source, index, LoadOptions(recreate=True)).active
    assert index.collections()[NAME] == WHOLE
    assert index.active() == NAME


def test_nothing_is_dropped_for_an_unsupported_layout_or_an_empty_original(tmp_path):
    source, target = new_index("server", tmp_path / "a"), new_index("edge", tmp_path / "b")
    load(target, POINTS[:9])
    with pytest.raises(InvalidRequest, match="--index"):
        push(load(source, POINTS[:9]), target, LoadOptions(recreate=True, shards=3))
    source.drop(NAME)
    with pytest.raises(IndexFailure, match="empty"):
        push(source.create(META, name=NAME), target, LoadOptions(recreate=True))
    assert target.open(NAME).count() == 9
    for index in (source, target):
        index.close()


def test_a_new_collection_is_quantised_as_the_original_unless_an_option_is_given(tmp_path):
    source, target = new_index("edge", tmp_path / "a"), new_index("edge", tmp_path / "b")
    original = source.create(META, name=NAME, layout=CollectionLayout(quantization="none"))
    original.upsert(POINTS[:9])
    push(original, target)
    assert target.collections()[NAME].layout == CollectionLayout(quantization="none")
    push(original, target, LoadOptions(recreate=True, quantization="int8"))
    assert target.collections()[NAME].layout == CollectionLayout(quantization="int8")
    source.close()
    target.close()


def test_a_load_begins_with_the_first_write_and_always_ends(upward, monkeypatch):
    source, index = upward
    calls = []
    kind = type(index.create(META, name="cxr_kind"))
    monkeypatch.setattr(kind, "begin_load", lambda self, images: calls.append(images))
    monkeypatch.setattr(kind, "optimize", lambda self, progress=None: calls.append("optimize"))
    with pytest.raises(Killed):
        push(source, index, progress=kill_after(COUNT))
    assert calls == [COUNT]
    # All points are there already, and the load has not ended.
    assert push(source, index).sent == 0
    assert calls == [COUNT, "optimize"]
    push(source, index, LoadOptions(recreate=True))
    assert calls == [COUNT, "optimize", COUNT, "optimize"]


def corrupt_vector(point):
    return replace(point, vectors=point.vectors | {"image": -point.vectors["image"]})


def corrupt_payload(point):
    return replace(point, payload=msgspec.structs.replace(point.payload, view="oblique"))


def lose_vector(point):
    return replace(point, vectors={"image": point.vectors["image"]})


@pytest.mark.parametrize(
    ("damage", "message"),
    [(corrupt_vector, "cosine of its image"), (corrupt_payload, "payloads"), (lose_vector, "has the vectors")],
)
def test_a_copy_that_differs_is_detected_and_not_recorded_as_complete(upward, monkeypatch, damage, message):
    source, index = upward
    kind = type(index.create(META, name="cxr_kind"))
    upsert = kind.upsert
    monkeypatch.setattr(kind, "upsert", lambda self, points: upsert(self, [damage(point) for point in points]))
    with pytest.raises(TransferFailed, match=message):
        push(source, index)
    assert not index.collections()[NAME].complete
    assert index.active() is None


def test_lost_points_are_detected(upward, monkeypatch):
    source, index = upward
    kind = type(index.create(META, name="cxr_kind"))
    upsert = kind.upsert
    monkeypatch.setattr(kind, "upsert", lambda self, points: upsert(self, points[1:]))
    with pytest.raises(TransferFailed, match="447 images after the copy, expected 450"):
        push(source, index)
    assert not index.collections()[NAME].complete


def test_a_payload_with_unknown_fields_is_refused_and_loses_none(upward):
    source, _ = upward
    stored = source.retrieve([POINTS[0].point_id])[POINTS[0].point_id]
    assert to_point(stored).payload == POINTS[0].payload
    with pytest.raises(IndexFailure, match="laterality"):
        to_point(replace(stored, payload=stored.payload | {"laterality": "left"}))
    with pytest.raises(IndexFailure, match="cannot be copied"):
        to_point(replace(stored, payload={"study_id": "1"}))
