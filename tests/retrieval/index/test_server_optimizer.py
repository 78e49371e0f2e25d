"""Settings of a server's optimizer, and the wait until all replicas have built: on a client with scripted answers."""

from __future__ import annotations

import itertools
import logging

import msgspec
import pytest

from retrieval.errors import IndexFailure
from retrieval.index.schema import (
    EXACT_UP_TO_KB,
    INT8_FROM_KB,
    LOADED_SEGMENT_IMAGES,
    LOADED_SEGMENTS,
    CollectionLayout,
    CollectionMeta,
    vector_kb,
)
from retrieval.index.server import optimizer
from retrieval.index.server.optimizer import CollectionOptimizer, OptimizerSettings, load_settings, search_settings
from retrieval.progress import NoProgress

NAME = "cxr_model"
IMAGES = 100_000


def meta(dim=512, **layout):
    return CollectionMeta(model="model", bundle_id="b", dim=dim, created_at="", layout=CollectionLayout(**layout))


@pytest.mark.parametrize("images", [1, 10_000, 65_000])
def test_a_shard_that_is_searched_exactly_has_no_graph_and_int8_copies_if_the_layout_says_so(images):
    found = search_settings(meta(), images)
    assert (found.m, found.indexing_threshold, found.default_segment_number) == (0, INT8_FROM_KB, 1)
    assert search_settings(meta(quantization="none"), images).indexing_threshold == EXACT_UP_TO_KB


@pytest.mark.parametrize("images", [70_000, 100_000, 300_000, 1_000_000, 20_000_000])
@pytest.mark.parametrize("dim", [512, 1152])
@pytest.mark.parametrize("shards", [1, 3])
def test_a_shard_that_is_too_large_for_exact_search_never_lacks_graphs(images, dim, shards):
    found = search_settings(meta(dim, shards=shards), images)
    shard_kb = vector_kb(dim, images) / shards
    if shard_kb <= EXACT_UP_TO_KB:
        assert found.m == 0
        return
    assert found.m > 0
    # The server merges more segments than the default number, so that the largest of those left holds this share.
    assert found.indexing_threshold <= shard_kb / found.default_segment_number
    assert 10_000 <= found.indexing_threshold <= EXACT_UP_TO_KB
    assert shard_kb / found.default_segment_number < found.max_segment_size


def test_graphs_stay_until_the_collection_is_half_as_large():
    assert search_settings(meta(), 50_000).m == 0
    assert search_settings(meta(), 50_000, has_graphs=True).m > 0
    assert search_settings(meta(), 30_000, has_graphs=True).m == 0


def test_a_few_images_more_do_not_change_the_settings():
    assert len({search_settings(meta(), IMAGES + more) for more in range(0, 10_000, 500)}) == 1


def test_a_load_fills_segments_of_limited_size_and_a_limited_number():
    small, large = load_settings(meta(), IMAGES, links=0), load_settings(meta(), 4_000_000, links=16)
    assert small.is_for_load and small.max_segment_size == vector_kb(512, LOADED_SEGMENT_IMAGES)
    assert large.max_segment_size == vector_kb(512, 4_000_000 / LOADED_SEGMENTS)
    assert (small.m, large.m) == (0, 16)


class ScriptedServer:
    """A server whose replicas have the statuses of `rounds`, one round after another; the last one stays."""

    def __init__(self, *rounds, settings, graphs=True):
        self.rounds = list(rounds)
        self.settings = settings
        self.graphs = graphs
        self.patches = []
        self.shown = []
        self.now = 0.0

    def call(self, method, path, body, answer, **params):
        found = getattr(
            self, "_" + {"/telemetry": "telemetry", "/cluster/telemetry": "cluster"}.get(path, "collection")
        )
        if method == "PATCH":
            assert "yellow" not in self.shown, "a patch stops a build"
            self.patches.append(body)
            return True
        return msgspec.convert(found(path), answer)

    def _collection(self, path):
        if path.endswith("/cluster"):
            remote = [{"shard_id": 0, "peer_id": 2, "state": "Active"}]
            return {"peer_id": 1, "local_shards": [], "remote_shards": remote}
        if path.endswith("/optimizations"):
            step = {"name": "all", "children": [{"name": "graph", "done": 1, "total": 4}]}
            running = [{"segments": [{"points_count": 60}, {"points_count": 20}], "progress": step}]
            return {"summary": {"queued_points": 40}, "running": running}
        optimizer = msgspec.structs.asdict(self.settings)
        return {"config": {"hnsw_config": {"m": optimizer.pop("m")}, "optimizer_config": optimizer}}

    def _cluster(self, path):
        self.shown = statuses = self.rounds[0]
        if len(self.rounds) > 1:
            self.rounds.pop(0)
        replicas = [
            {"peer_id": number, "state": "Active" if status else "Dead", "status": status}
            for number, status in enumerate(statuses, 1)
        ]
        return {"collections": {NAME: {"shards": [{"id": 0, "replicas": replicas}]}}}

    def _telemetry(self, path):
        has_graph = self.graphs or len(self.patches) > 1
        counts = {"image": {"num_vectors": IMAGES, "num_indexed_vectors": IMAGES if has_graph else 0}}
        segment = {"info": {"vector_data": counts}, "config": {"vector_data": {"image": {"size": 512}}}}
        shards = [{"id": 0, "local": {"segments": [segment]}}]
        return {"collections": {"collections": [{"id": NAME, "shards": shards}]}}

    def sleep(self, seconds):
        self.now += seconds


class Seen(NoProgress):
    def __init__(self):
        self.stages, self.counts = [], []

    def stage(self, title, unit=""):
        self.stages.append(title)

    def __call__(self, done, total):
        self.counts.append((done, total))


def run(server, progress=None):
    CollectionOptimizer(server, NAME, meta(), sleep=server.sleep, clock=lambda: server.now).run(IMAGES, progress)


READY = search_settings(meta(), IMAGES)
LOADING = load_settings(meta(), IMAGES, links=0)


def test_a_collection_that_is_built_needs_no_change_and_no_wait():
    server = ScriptedServer(["green", "green"], settings=READY)
    run(server)
    assert (server.patches, server.now) == ([], 0)


def test_after_a_load_the_settings_are_those_for_searches_and_all_replicas_are_awaited():
    rounds = [["green", "green"]] * 2 + [["yellow", "green"]] * 3 + [["green", "yellow"]] * 4
    server, seen = ScriptedServer(*rounds, ["green", "green"], settings=LOADING), Seen()
    run(server, seen)
    assert server.patches == [READY.to_request()]
    assert len(server.rounds) == 1
    assert seen.stages == ["Optimizing shard 0 on node 1", "Optimizing shard 0 on node 2"]
    assert seen.counts[0] == (20, 120)


def test_a_grey_replica_is_triggered_only_when_no_other_one_builds():
    rounds = [["yellow", "grey"]] * 5 + [["grey", "grey"]] * 30 + [["yellow", "yellow"]]
    server = ScriptedServer(*rounds, ["green", "green"], settings=READY)
    run(server)
    assert 1 <= len(server.patches) <= 2
    assert all(patch == {"optimizers_config": {}} for patch in server.patches)


def test_a_collection_that_is_grey_after_a_restart_is_triggered_at_once():
    server = ScriptedServer(["grey"], ["yellow"], ["green"], settings=READY)
    run(server)
    assert server.patches == [{"optimizers_config": {}}]
    assert server.now < 5


def test_a_server_that_never_begins_is_named_with_what_to_do():
    server = ScriptedServer(["green", "grey"], settings=READY)
    with pytest.raises(IndexFailure, match=r"shard 0 on node 2 of cxr_model .*cxr ingest finish --model model"):
        run(server)
    assert len(server.patches) == optimizer._TRIGGERS


def test_graphs_that_are_missing_by_vector_are_built_although_the_status_is_green():
    server = ScriptedServer(["green"], settings=READY, graphs=False)
    run(server)
    assert server.patches == [{"optimizers_config": {}}] * 2
    server = ScriptedServer(["green"], settings=msgspec.structs.replace(READY, m=16), graphs=False)
    server._telemetry = lambda path: ScriptedServer._telemetry(ScriptedServer([], settings=READY, graphs=False), path)
    with pytest.raises(IndexFailure, match="the graph of image for 100,000 images in shard 0"):
        run(server)


def test_a_failed_replica_is_named():
    with pytest.raises(IndexFailure, match="shard 0 on node 2 of cxr_model failed to optimize"):
        run(ScriptedServer(["green", "red"], settings=READY))


def test_a_replica_whose_node_is_away_is_left_out_with_a_warning(caplog):
    with caplog.at_level(logging.WARNING):
        run(ScriptedServer(["green", None], settings=READY))
    assert "shard 0 on node 2 of cxr_model does not answer" in caplog.text


def test_an_optimizer_that_is_switched_off_is_reported():
    server = ScriptedServer(["green"], settings=READY)
    server._collection = lambda path: {
        "config": {
            "hnsw_config": {"m": 0},
            "optimizer_config": {"default_segment_number": 1, "max_optimization_threads": 0},
        }
    }
    with pytest.raises(IndexFailure, match="switched off"):
        run(server)


@pytest.mark.parametrize(("images", "found", "expected"), [(999, READY, 0), (1_000, READY, 1), (1_000, LOADING, 0)])
def test_a_load_begins_once_and_only_for_many_images(images, found: OptimizerSettings, expected):
    server = ScriptedServer(["green"], settings=found)
    CollectionOptimizer(server, NAME, meta()).begin_load(images)
    assert len(server.patches) == expected


def test_every_status_ends():
    """No order of statuses keeps the wait from ending once all replicas are green."""
    for statuses in itertools.product(["green", "yellow", "grey"], repeat=4):
        server = ScriptedServer(*([status] for status in statuses), ["green"], settings=READY)
        run(server)
