"""Changes of stored points and collections after the first load, equal on every engine."""

import msgspec
import numpy as np
import pytest

from retrieval.index.edge import collection as edge_collection
from retrieval.index.edge.collection import EdgeCollection
from retrieval.index.filters import Filters
from retrieval.index.schema import DENSE_VECTORS
from retrieval.index.search_request import SearchRequest, VectorSignal
from retrieval.index.server import collection as server_collection
from tests.congruence.conftest import NAME, unit_vectors
from tests.congruence.stored_points import TEXT, dense, expected_terms, terms, with_report

OTHER = f"{NAME}_other"


def test_a_new_report_replaces_payload_text_vectors_and_terms_and_leaves_the_image_vector(collection, points):
    old, (vector,) = points[4], unit_vectors(1, seed=40)
    assert old.vectors.keys() == set(DENSE_VECTORS)
    before = dense(collection, old.point_id)
    assert terms(collection, old.point_id) == expected_terms(old.text)
    new = with_report(old, TEXT, vector, report_group="new")
    collection.replace_reports([new])
    after = dense(collection, old.point_id)
    assert after["image"].tobytes() == before["image"].tobytes()
    for name in ("findings", "impression"):
        np.testing.assert_allclose(after[name], vector, atol=2e-3)
    assert terms(collection, old.point_id) == expected_terms(TEXT)
    assert collection.fetch([old.point_id]) == {old.point_id: msgspec.to_builtins(new.payload)}
    assert collection.count() == len(points)


def test_text_vectors_and_terms_are_removed_when_a_report_becomes_empty(collection, points):
    emptied, filled = points[4], points[21]
    assert filled.vectors.keys() == {"image"}
    (vector,) = unit_vectors(1, seed=41)
    untouched = dense(collection, points[5].point_id)
    # Both in one call: what one point loses, the other gains.
    collection.replace_reports([with_report(emptied, "", None), with_report(filled, TEXT, vector)])
    assert dense(collection, emptied.point_id).keys() == {"image"}
    assert terms(collection, emptied.point_id) == {}
    assert dense(collection, filled.point_id).keys() == set(DENSE_VECTORS)
    assert terms(collection, filled.point_id) == expected_terms(TEXT)
    hits = collection.search(SearchRequest(signals=(VectorSignal("findings", vector, 1.0),), limit=len(points)))
    assert hits[0].point_id == filled.point_id
    assert emptied.point_id not in {hit.point_id for hit in hits}
    assert dense(collection, points[5].point_id)["findings"].tobytes() == untouched["findings"].tobytes()


def test_one_section_can_be_removed_while_the_other_is_replaced(collection, points):
    (vector,) = unit_vectors(1, seed=42)
    kept = with_report(points[4], TEXT, vector)
    del kept.vectors["impression"]
    collection.replace_reports([kept])
    assert dense(collection, kept.point_id).keys() == {"image", "findings"}


class Cut(Exception):
    pass


def cut_after(collection, operations, monkeypatch):
    """Let the engine do so many operations of the next call and then fail, like a killed process."""
    if isinstance(collection, EdgeCollection):
        shard, left = collection._shard, [operations]

        class CutShard:
            def __getattr__(self, name):
                return getattr(shard, name)

            def update(self, operation):
                if left[0] == 0:
                    raise Cut
                left[0] -= 1
                shard.update(operation)

        monkeypatch.setattr(collection, "_shard", CutShard())
    else:
        client = collection._client._client
        whole = client.write

        def cut(method, path, body):
            steps = body["operations"]
            if operations:
                whole(method, path, {"operations": steps[:operations]})
            if len(steps) > operations:
                raise Cut

        monkeypatch.setattr(client, "write", cut)


@pytest.mark.parametrize("operations", range(7))
def test_after_an_interrupted_replacement_a_new_payload_means_a_new_point(collection, points, operations, monkeypatch):
    (vector,) = unit_vectors(1, seed=43)
    new = [with_report(points[4], TEXT, vector), with_report(points[5], "", None)]
    images = {point.point_id: dense(collection, point.point_id)["image"].tobytes() for point in new}
    with monkeypatch.context() as patched:
        cut_after(collection, operations, patched)
        try:
            collection.replace_reports(new)
            done = True
        except Cut:
            done = False
    # Three deletions (two vectors and the terms of the second), one update, two payloads.
    assert done == (operations >= 6)
    for point in new:
        found = dense(collection, point.point_id)
        assert found["image"].tobytes() == images[point.point_id]
        if collection.fetch([point.point_id])[point.point_id]["findings"] == point.payload.findings:
            assert found.keys() - {"image"} == point.vectors.keys()
            assert terms(collection, point.point_id) == expected_terms(point.text)
    collection.replace_reports(new)
    assert dense(collection, new[1].point_id).keys() == {"image"}
    assert terms(collection, new[0].point_id) == expected_terms(TEXT)


def test_deleted_points_are_removed_and_the_others_stay(collection, points):
    gone = [point.point_id for point in points[10:20]]
    collection.delete([*gone, "00000000-0000-0000-0000-000000000000"])
    collection.delete([])
    assert collection.count() == len(points) - 10
    assert collection.fetch(gone) == {}
    left = {stored.point_id for stored in collection.scroll(limit=None)}
    assert left == {point.point_id for point in points} - set(gone)


@pytest.mark.parametrize("limit", [None, 1, 7, 14, 15, 149, 150, 1000])
def test_a_scroll_over_many_pages_gives_each_point_once_in_the_order_of_ids(collection, points, limit, monkeypatch):
    for module in (edge_collection, server_collection):
        monkeypatch.setattr(module, "_PAGE", 7)
        monkeypatch.setattr(module, "_PAGE_WITH_VECTORS", 5)
    ordered = sorted(point.point_id for point in points)
    for vectors in ((), DENSE_VECTORS):
        found = [stored.point_id for stored in collection.scroll(limit=limit, vectors=vectors)]
        assert found == ordered[:limit]
    narrowed = [stored.point_id for stored in collection.scroll(Filters(view="lateral"), limit=limit)]
    assert narrowed == sorted(point.point_id for point in points if point.payload.view == "lateral")[:limit]


def test_retrieve_returns_the_requested_vectors_of_existing_points(collection, points):
    wanted = [points[3].point_id, points[4].point_id, "00000000-0000-0000-0000-000000000000"]
    found = collection.retrieve(wanted, vectors=DENSE_VECTORS)
    assert found.keys() == set(wanted[:2])
    assert found[points[3].point_id].vectors.keys() == points[3].vectors.keys()
    np.testing.assert_allclose(found[points[4].point_id].vectors["findings"], points[4].vectors["findings"], atol=2e-3)
    assert found[points[4].point_id].payload == msgspec.to_builtins(points[4].payload)
    assert collection.retrieve(wanted[:1])[wanted[0]].vectors == {}


@pytest.fixture
def two(index, collection, meta):
    index.create(meta, name=OTHER, layout=meta.layout)
    yield index
    if OTHER in index.collections():
        index.drop(OTHER)


def test_the_previous_collection_is_remembered(two):
    assert two.previous() is None
    two.activate(NAME)
    assert (two.active(), two.previous()) == (NAME, None)
    two.activate(OTHER)
    assert (two.active(), two.previous()) == (OTHER, NAME)
    two.activate(OTHER)
    assert (two.active(), two.previous()) == (OTHER, NAME)
    two.activate(NAME)
    assert (two.active(), two.previous()) == (NAME, OTHER)


def test_a_dropped_collection_is_not_the_previous_one(two):
    two.activate(NAME)
    two.activate(OTHER)
    two.drop(NAME)
    assert (two.active(), two.previous()) == (OTHER, None)


def test_the_previous_collection_is_remembered_after_a_drop_of_the_active_one(two):
    two.activate(NAME)
    two.activate(OTHER)
    two.drop(OTHER)
    assert (two.active(), two.previous()) == (None, NAME)
    two.activate(NAME)
    assert (two.active(), two.previous()) == (NAME, NAME)
