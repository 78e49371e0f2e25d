"""The index and the commands with a server that drops connections, loses answers, or is busy."""

from __future__ import annotations

import json
import time

import msgspec
import numpy as np
import pytest
from stamina.instrumentation import get_on_retry_hooks, set_on_retry_hooks

from archives.indiana import IndianaSource
from ingest.run_mode import RunMode
from ingest.worker import Worker
from retrieval.errors import CollectionExists, IndexFailure, IndexUnreachable, NoCollection
from retrieval.index.schema import DATE_FIELD, KEYWORD_FIELDS, CollectionLayout, CollectionMeta
from retrieval.index.search_request import SearchRequest, VectorSignal
from retrieval.index.server import optimizer
from tests.conftest import DIM
from tests.ingest.worker_fixtures import CallOnProgress
from tests.recovery.qdrant_stand_in import FaultPlan, QdrantStandIn
from tests.recovery.server_commands import cxr, ingest_options
from tests.recovery.state import differences, read_server

NAME = "cxr_tiny"
META = CollectionMeta(model="tiny", bundle_id="b1", dim=DIM, created_at="2026-01-01T00:00:00+00:00")
NEAREST = SearchRequest(signals=(VectorSignal("image", np.ones(DIM, dtype=np.float32), 1.0),))


@pytest.mark.parametrize("seed", [1, 2])
def test_an_ingest_into_a_faulty_server_gives_the_same_index(
    seed, server, connect, without_delays, encoder, archive, home, tmp_path
):
    shares = {"drop": 0.1, "lose": 0.1, "503": 0.1, "500": 0.05, "429": 0.05, "stall": 0.01}
    plan = FaultPlan(seed, shares, stall_s=1.5)
    with QdrantStandIn(faults=plan) as faulty:
        for call in ("PUT collection", "PUT index", "PATCH collection", "POST aliases", "PUT points", "POST points"):
            faulty.fail_next(call, "lose", "drop", "503")
        # Each run has its own home, because a shared ledger would hide differences.
        for at, folder in ((faulty, tmp_path / "a"), (server, tmp_path / "b")):
            worker = Worker(encoder, connect(at), home=folder, media_dir=folder / "media", batch_size=4)
            assert worker.run(IndianaSource(**archive)).indexed == 24
            text = archive["reports_csv"].read_text()
            archive["reports_csv"].write_text(text.replace("Nodule right.", "Nodule left."))
            assert worker.run(IndianaSource(**archive)).updated == 4
            archive["reports_csv"].write_text(text)
        found, expected = read_server(faulty, tmp_path / "a", NAME), read_server(server, tmp_path / "b", NAME)
        assert faulty.fault_counts.keys() >= {"drop", "lose", "503", "500", "429"}
    assert differences(found, expected) == []
    assert found.payload_indexes == dict.fromkeys(KEYWORD_FIELDS, "keyword") | {DATE_FIELD: "datetime"}
    assert found.aliases == {"cxr": NAME}


def test_a_command_fails_after_its_patience_and_completes_when_repeated(server, home, archive):
    server.fail_next("PUT points", *["503"] * 1000)
    command = ingest_options(archive)
    started = time.monotonic()
    failed = cxr(home, server.url, *command, CXR_INDEX_PATIENCE_S="1")
    assert time.monotonic() - started < 30
    assert failed.returncode == 1
    assert "busy" in failed.stderr and server.url in failed.stderr and "Traceback" not in failed.stderr
    assert json.loads(failed.stdout)["error"]["code"] == "index_unreachable"
    assert not read_server(server, home, NAME).meta.complete

    server.stop_faults()
    result = cxr(home, server.url, *command, CXR_INDEX_PATIENCE_S="1")
    assert (result.returncode, json.loads(result.stdout)["indexed"]) == (0, 24)
    assert read_server(server, home, NAME).meta.complete


def test_messages_about_waiting_for_a_server_go_to_stderr(server, home, archive):
    server.fail_next("PUT points", "503", "drop")
    result = cxr(home, server.url, *ingest_options(archive))
    assert json.loads(result.stdout)["indexed"] == 24
    assert "the Qdrant server is unavailable (503 Service Unavailable: planned fault)" in result.stderr


def test_a_retry_waits_as_long_as_the_server_asks(server, connect):
    server.faults.retry_after_s = 2
    index = connect(server)
    server.fail_next("GET aliases", "429")
    started = time.monotonic()
    assert index.active() is None
    assert time.monotonic() - started >= 2


def test_a_retry_waits_at_most_ten_seconds(server, connect):
    class Waiting(Exception):
        pass

    def stop(details):
        raise Waiting(details.wait_for)

    server.faults.retry_after_s = 3600
    index = connect(server)
    server.fail_next("GET aliases", "429")
    hooks = get_on_retry_hooks()
    set_on_retry_hooks([stop])
    try:
        with pytest.raises(Waiting) as error:
            index.active()
    finally:
        set_on_retry_hooks(hooks)
    assert 0 < error.value.args[0] <= 10


def test_a_search_is_retried_once(server, connect):
    connect(server).create(META, name=NAME)
    collection = connect(server, patience_s=0).open(NAME)
    server.fail_next("POST points/query/batch", "drop")
    assert collection.search(NEAREST) == []
    server.calls.clear()
    server.fail_next("POST points/query/batch", "503", "503", "503")
    with pytest.raises(IndexUnreachable, match="busy"):
        collection.search(NEAREST)
    assert server.calls == ["POST points/query/batch"] * 2


@pytest.mark.parametrize("fault", ["429", "stall"])
def test_a_search_is_not_retried_after_429_or_a_timeout(fault, server, connect):
    connect(server).create(META, name=NAME)
    collection = connect(server, patience_s=0).open(NAME)
    server.faults.retry_after_s = 60
    server.calls.clear()
    server.fail_next("POST points/query/batch", fault)
    started = time.monotonic()
    with pytest.raises(IndexUnreachable):
        collection.search(NEAREST)
    assert server.calls == ["POST points/query/batch"]
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("call", ["PUT collection", "PUT index", "PATCH collection"])
def test_a_collection_is_created_once_if_a_response_is_lost(call, server, connect, without_delays):
    server.fail_next(call, "lose", "lose")
    created = connect(server).create(
        META, name=NAME, layout=CollectionLayout(shards=2, replicas=2, quantization="int8")
    )
    assert created.meta.bundle_id == "b1"
    assert server.payload_indexes(NAME).keys() == {*KEYWORD_FIELDS, DATE_FIELD}
    assert (server.params(NAME)["shard_number"], server.params(NAME)["replication_factor"]) == (2, 2)
    assert server.params(NAME)["quantization_config"]["scalar"]["type"] == "int8"
    with pytest.raises(CollectionExists):
        connect(server).create(META, name=NAME)


def test_the_aliases_are_right_if_the_response_to_their_change_is_lost(server, connect, without_delays):
    index = connect(server)
    for name in (NAME, "cxr_other"):
        index.create(META, name=name)
        server.fail_next("POST aliases", "lose", "drop", "lose")
        index.activate(name)
    assert (index.active(), index.previous()) == ("cxr_other", NAME)


@pytest.mark.parametrize("bundle_id", ["b1", "b2"])
def test_a_partly_created_collection_is_not_listed_until_it_is_created_again(bundle_id, server, connect):
    index = connect(server, patience_s=0)
    # The creation stops before the fourth payload index.
    real, created = index._client._client.write, []

    def cut(*values):
        created.append(values)
        if len(created) == 4:
            raise KeyboardInterrupt
        return real(*values)

    index._client._client.write = cut
    with pytest.raises(KeyboardInterrupt):
        index.create(META, name=NAME)
    assert index.collections() == {}
    with pytest.raises(NoCollection):
        index.open(NAME)
    again = connect(server)
    again.create(msgspec.structs.replace(META, bundle_id=bundle_id), name=NAME)
    assert again.collections()[NAME].bundle_id == bundle_id
    assert server.payload_indexes(NAME).keys() == {*KEYWORD_FIELDS, DATE_FIELD}


def test_a_collection_of_another_program_is_not_changed(server, connect):
    server.handle("create", NAME, {"vectors": {}, "metadata": {"owner": "somebody"}})
    index = connect(server, patience_s=0)
    assert index.collections() == {}
    with pytest.raises(CollectionExists):
        index.create(META, name=NAME)
    assert server.client.get_collection(NAME).config.metadata == {"owner": "somebody"}


def test_the_server_builds_again_after_an_interrupted_ingest(server, connect, encoder, archive, monkeypatch):
    monkeypatch.setattr(optimizer, "LOAD_FROM_IMAGES", 10)

    class Cut(Exception):
        pass

    def cut(done, total):
        if done >= 12:
            raise Cut

    with pytest.raises(Cut):
        Worker(encoder, connect(server), batch_size=4).run(IndianaSource(**archive), progress=CallOnProgress(cut))
    assert server.indexing_threshold(NAME) == 0
    server.optimizing_polls = 2
    Worker(encoder, connect(server), batch_size=4).run(IndianaSource(**archive))
    assert server.indexing_threshold(NAME) > 0
    assert server.optimizing_polls == 0
    assert connect(server).collections()[NAME].complete


def test_finish_triggers_a_server_that_restarted_while_it_built(server, connect, encoder, archive):
    worker = Worker(encoder, connect(server), batch_size=4)
    worker.run(IndianaSource(**archive), RunMode(part=(1, 2)))
    worker.run(IndianaSource(**archive), RunMode(part=(2, 2)))
    server.is_grey, server.optimizing_polls = True, 2
    seen = []
    worker.finish(CallOnProgress(lambda done, total: seen.append((done, total))))
    assert not server.is_grey
    assert server.optimizing_polls == 0
    assert (6, 24) in seen  # images that are built, of those in the segments
    assert connect(server).collections()[NAME].complete


def test_a_rejected_request_is_not_retried(server, connect):
    index = connect(server, patience_s=600)
    index.create(META, name=NAME)
    server.calls.clear()
    with pytest.raises(IndexFailure, match="refuses facet") as error:
        index.open(NAME)._client.facet("cxr_unknown", key="view")
    assert not isinstance(error.value, IndexUnreachable)
    assert server.calls.count("POST facet") == 1
