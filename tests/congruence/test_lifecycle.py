"""Changes of stored points and collections after the first load, equal on every engine."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import msgspec
import numpy as np
import pytest
import qdrant_edge as edge

from retrieval.errors import CollectionExists, IndexLocked, NoCollection
from retrieval.index.edge import collection as edge_collection
from retrieval.index.edge.collection import EdgeCollection
from retrieval.index.edge.index import EdgeIndex
from retrieval.index.filters import Filters
from retrieval.index.interface import SearchRequest, VectorSignal
from retrieval.index.schema import DENSE_VECTORS
from retrieval.index.server import collection as server_collection
from tests.congruence.conftest import DIM, META, NAME, unit_vectors

OTHER = f"{NAME}_other"
TEXT = "large nodule"


def dense(collection, point_id):
    return collection.retrieve([point_id], vectors=DENSE_VECTORS)[point_id].vectors


def terms(collection, point_id):
    """The BM25 vector as the engine holds it: value by index."""
    if isinstance(collection, EdgeCollection):
        (record,) = collection._shard.retrieve([point_id], with_payload=False, with_vector=["bm25"])
    else:
        (record,) = collection._client.retrieve(NAME, [point_id], with_payload=False, with_vectors=["bm25"])
    found = (record.vector or {}).get("bm25")
    return dict(zip(found.indices, found.values, strict=True)) if found else {}


def expected_terms(text):
    made = edge.Bm25().embed_document(text)
    return dict(zip(made.indices, made.values, strict=True))


def with_report(point, text, vector, **payload):
    """`point` with another report: `vector` stands for both of its sections, or for none of them."""
    named = {} if vector is None else {"findings": vector, "impression": vector}
    return replace(
        point, vectors=named, text=text, payload=msgspec.structs.replace(point.payload, findings=text, **payload)
    )


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
        whole = client.batch_update_points

        def cut(name, steps, **options):
            whole(name, steps[:operations], **options)
            if len(steps) > operations:
                raise Cut

        monkeypatch.setattr(client, "batch_update_points", cut)


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
def two(index, collection):
    index.create(META, name=OTHER)
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


def test_a_shard_without_a_log_keeps_every_change_when_it_is_opened_again(tmp_path, points):
    index = EdgeIndex(tmp_path)
    made = index.create(META, name=NAME)
    made.upsert(points)
    made.delete([points[0].point_id])
    new = with_report(points[4], TEXT, unit_vectors(1, seed=44)[0])
    made.replace_reports([new])
    index.close()
    assert not (tmp_path / NAME / "shard" / "wal").exists()
    index = EdgeIndex(tmp_path)
    opened = index.open(NAME)
    assert opened.count() == len(points) - 1
    assert opened.fetch([new.point_id])[new.point_id]["findings"] == TEXT
    assert terms(opened, new.point_id) == expected_terms(TEXT)
    opened.upsert(points[:1])
    assert opened.count() == len(points)
    index.close()


KILL = """
import os, signal, sys
from pathlib import Path
from retrieval.index.edge.index import EdgeIndex
from tests.congruence.conftest import META, NAME, make_points
made = EdgeIndex(Path(sys.argv[1])).create(META, name=NAME)
points = make_points()
made.upsert(points[:100])
made.delete([points[0].point_id])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_finished_writes_survive_a_kill_of_the_process(tmp_path, points):
    done = subprocess.run([sys.executable, "-c", KILL, str(tmp_path)], cwd=os.getcwd(), check=False)
    assert done.returncode == -signal.SIGKILL
    index = EdgeIndex(tmp_path)
    assert {stored.point_id for stored in index.open(NAME).scroll(limit=None)} == {
        point.point_id for point in points[1:100]
    }
    index.close()


def make_logged_shard(folder, points):
    """A collection of an earlier version: with a write-ahead log, and without counts."""
    params = edge.EdgeVectorParams(size=DIM, distance=edge.Distance.Cosine, datatype=edge.VectorStorageDatatype.Float16)
    config = edge.EdgeConfig(
        vectors=dict.fromkeys(DENSE_VECTORS, params),
        sparse_vectors={"bm25": edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)},
    )
    (folder / NAME / "shard").mkdir(parents=True)
    shard = edge.EdgeShard.create(str(folder / NAME / "shard"), config)
    shard.update(edge.UpdateOperation.upsert_points([edge_collection._to_edge(point) for point in points]))
    shard.close()
    recorded = {key: value for key, value in msgspec.to_builtins(META).items() if key not in ("counts", "complete")}
    del recorded["layout"]
    (folder / NAME / "collection.json").write_text(json.dumps(recorded))


def test_a_collection_that_was_made_with_a_log_is_read_and_written(tmp_path, points):
    make_logged_shard(tmp_path, points)
    assert (tmp_path / NAME / "shard" / "wal").is_dir()
    index = EdgeIndex(tmp_path)
    assert index.collections() == {NAME: META}
    opened = index.open(NAME)
    assert opened.count() == len(points)
    opened.replace_reports([with_report(points[4], TEXT, None)])
    opened.delete([points[0].point_id])
    opened.upsert([points[0]])
    opened.optimize()
    index.close()
    index = EdgeIndex(tmp_path)
    opened = index.open(NAME)
    assert opened.count() == len(points)
    assert dense(opened, points[4].point_id).keys() == {"image"}
    index.close()


def test_a_shard_that_an_earlier_version_has_open_is_locked(tmp_path, points):
    make_logged_shard(tmp_path, points)
    held = edge.EdgeShard.load(str(tmp_path / NAME / "shard"))
    index = EdgeIndex(tmp_path)
    with pytest.raises(IndexLocked, match="in use"):
        index.open(NAME)
    held.close()
    assert index.open(NAME).count() == len(points)
    index.close()


def test_a_collection_without_a_log_is_locked_too(tmp_path, points):
    first, second = EdgeIndex(tmp_path), EdgeIndex(tmp_path)
    first.create(META, name=NAME)
    for call in (second.open, second.drop):
        with pytest.raises(IndexLocked, match="in use"):
            call(NAME)
    assert second.collections() == {NAME: META}
    first.close()
    second.open(NAME).upsert(points[:3])
    with pytest.raises(IndexLocked):
        first.open(NAME)
    second.drop(NAME)
    with pytest.raises(NoCollection):
        first.open(NAME)
    first.create(META, name=NAME)
    with pytest.raises(CollectionExists):
        second.create(META, name=NAME)
    first.close()


def test_a_damaged_shard_can_be_dropped(tmp_path, points):
    index = EdgeIndex(tmp_path)
    index.create(META, name=NAME).upsert(points[:3])
    index.close()
    (tmp_path / NAME / "shard" / "edge_config.json").write_text("{")
    index.drop(NAME)
    assert index.collections() == {}
    assert index.create(META, name=NAME).count() == 0
    index.close()
