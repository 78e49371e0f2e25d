"""Shards of the embedded engine on disk: without and with a log, after a kill, locked, damaged."""

import json
import os
import signal
import subprocess
import sys

import msgspec
import pytest
import qdrant_edge as edge

from retrieval.errors import CollectionExists, IndexLocked, NoCollection
from retrieval.index.edge import collection as edge_collection
from retrieval.index.edge.index import EdgeIndex
from retrieval.index.schema import DENSE_VECTORS
from tests.congruence.conftest import DIM, META, NAME, unit_vectors
from tests.congruence.stored_points import TEXT, dense, expected_terms, terms, with_report


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
