"""A server that drops connections, is busy, wants a key or shows a certificate: what the index and the commands do."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import stamina
import trustme
from stamina.instrumentation import get_on_retry_hooks, set_on_retry_hooks

from archives.indiana import IndianaSource
from ingest.worker import Worker
from retrieval.errors import CollectionExists, IndexFailure, IndexUnreachable, NoCollection, SystemFailure
from retrieval.index.engines import open_index
from retrieval.index.interface import SearchRequest, VectorSignal
from retrieval.index.schema import DATE_FIELD, KEYWORD_FIELDS, CollectionLayout, CollectionMeta
from retrieval.index.server.index import ServerIndex
from retrieval.model.encoder import Encoder
from retrieval.settings import RetrievalSettings
from tests.conftest import DIM, write_tiny_bundle
from tests.ingest.worker_fixtures import CallOnProgress
from tests.recovery.qdrant_stand_in import FaultPlan, QdrantStandIn
from tests.recovery.state import differences, read_stand_in

NAME = "cxr_tiny"
META = CollectionMeta(model="tiny", bundle_id="b1", dim=DIM, created_at="2026-01-01T00:00:00+00:00")
NEAREST = SearchRequest(signals=(VectorSignal("image", np.ones(DIM, dtype=np.float32), 1.0),))
PATIENT_S = 30.0


@pytest.fixture
def server() -> Iterator[QdrantStandIn]:
    with QdrantStandIn() as started:
        yield started


@pytest.fixture
def at_once() -> Iterator[None]:
    """Retries without waiting between them, for tests of what comes out of them."""
    with stamina.set_testing(True, attempts=40):
        yield


@pytest.fixture
def connect() -> Iterator[Callable[..., ServerIndex]]:
    opened: list[ServerIndex] = []

    def connect(server: QdrantStandIn, *, patience_s: float = PATIENT_S, key: str | None = None) -> ServerIndex:
        opened.append(ServerIndex.connect(server.url, api_key=key, timeout_s=1, patience_s=patience_s))
        return opened[-1]

    yield connect
    for index in opened:
        index.close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    write_tiny_bundle(tmp_path / "home" / "models", "tiny", seed=0)
    return tmp_path / "home"


@pytest.fixture
def encoder(home: Path) -> Encoder:
    return Encoder(write_tiny_bundle(home / "models", "tiny", seed=0), device="cpu", threads=1)


def cxr(home: Path, index: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("CXR_")}
    return subprocess.run(
        [sys.executable, "-m", "cxr", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=kept | {"CXR_HOME": str(home), "CXR_INDEX": index, "CXR_DEVICE": "cpu"} | environment,
        timeout=120,
        check=False,
    )


def ingest_options(archive: dict[str, Path]) -> list[object]:
    paths = [text for name, path in archive.items() for text in (f"--{name.replace('_', '-')}", path)]
    return ["ingest", "--model", "tiny", "--batch-size", "4", *paths, "--json"]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_against_a_misbehaving_server_equals_an_undisturbed_one(
    seed, server, connect, at_once, encoder, archive, home, tmp_path
):
    shares = {"drop": 0.1, "lose": 0.1, "503": 0.1, "500": 0.05, "429": 0.05, "stall": 0.01}
    plan = FaultPlan(seed, shares, stall_s=1.5)
    with QdrantStandIn(faults=plan) as misbehaving:
        for call in ("PUT collection", "PUT index", "PATCH collection", "POST aliases", "PUT points", "POST points"):
            misbehaving.fail_next(call, "lose", "drop", "503")
        # A home for each: their ledgers must not help each other.
        for at, folder in ((misbehaving, tmp_path / "a"), (server, tmp_path / "b")):
            worker = Worker(encoder, connect(at), home=folder, media_dir=folder / "media", batch_size=4)
            assert worker.run(IndianaSource(**archive)).indexed == 24
            text = archive["reports_csv"].read_text()
            archive["reports_csv"].write_text(text.replace("Nodule right.", "Nodule left."))
            assert worker.run(IndianaSource(**archive)).updated == 4
            archive["reports_csv"].write_text(text)
        found, expected = read_stand_in(misbehaving, tmp_path / "a", NAME), read_stand_in(server, tmp_path / "b", NAME)
        assert misbehaving.met.keys() >= {"drop", "lose", "503", "500", "429"}
    assert differences(found, expected) == []
    assert found.payload_indexes == dict.fromkeys(KEYWORD_FIELDS, "keyword") | {DATE_FIELD: "datetime"}
    assert found.aliases == {"cxr": NAME}


def test_when_patience_runs_out_the_command_says_so_and_the_same_command_completes(server, home, archive):
    server.fail_next("PUT points", *["503"] * 1000)
    command = ingest_options(archive)
    started = time.monotonic()
    failed = cxr(home, server.url, *command, CXR_INDEX_PATIENCE_S="1")
    assert time.monotonic() - started < 30
    assert failed.returncode == 1
    assert "busy" in failed.stderr and server.url in failed.stderr and "Traceback" not in failed.stderr
    assert json.loads(failed.stdout)["error"]["code"] == "index_unreachable"
    assert not read_stand_in(server, home, NAME).meta.complete

    server.heal()
    done = cxr(home, server.url, *command, CXR_INDEX_PATIENCE_S="1")
    assert (done.returncode, json.loads(done.stdout)["indexed"]) == (0, 24)
    assert read_stand_in(server, home, NAME).meta.complete


def test_nothing_but_the_result_goes_to_stdout_while_a_server_is_waited_for(server, home, archive):
    server.fail_next("PUT points", "503", "drop")
    done = cxr(home, server.url, *ingest_options(archive))
    assert json.loads(done.stdout)["indexed"] == 24
    assert "the Qdrant server is unavailable (Unexpected Response: 503" in done.stderr


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
def test_a_wrong_key_is_told_at_once_and_the_right_one_admits(connect, home, archive):
    with QdrantStandIn(api_key="right") as locked:
        with pytest.raises(IndexUnreachable, match=r"(?s)401.*CXR_INDEX_API_KEY") as caught:
            connect(locked, patience_s=600, key="wrong")
        assert "wrong" not in str(caught.value)
        assert len(locked.calls) == 1
        refused = cxr(home, locked.url, *ingest_options(archive))
        assert refused.returncode == 1 and "CXR_INDEX_API_KEY" in refused.stderr
        admitted = cxr(home, locked.url, *ingest_options(archive), CXR_INDEX_API_KEY="right")
        assert json.loads(admitted.stdout)["indexed"] == 24


def test_a_patient_client_comes_again_when_the_server_said(server, connect):
    server.faults.retry_after_s = 2
    index = connect(server)
    server.fail_next("GET aliases", "429")
    started = time.monotonic()
    assert index.active() is None
    assert time.monotonic() - started >= 2


def test_a_server_cannot_send_a_client_away_for_an_hour(server, connect):
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
        with pytest.raises(Waiting) as caught:
            index.active()
    finally:
        set_on_retry_hooks(hooks)
    assert 0 < caught.value.args[0] <= 10


def test_a_search_is_tried_once_more_and_then_fails(server, connect):
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
def test_a_search_waits_neither_for_a_busy_server_nor_for_a_second_timeout(fault, server, connect):
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
def test_a_collection_is_made_once_if_an_answer_is_lost(call, server, connect, at_once):
    server.fail_next(call, "lose", "lose")
    made = connect(server).create(META, name=NAME, layout=CollectionLayout(shards=2, replicas=2, quantization="int8"))
    assert made.meta.bundle_id == "b1"
    assert server.payload_indexes(NAME).keys() == {*KEYWORD_FIELDS, DATE_FIELD}
    assert (server.params(NAME)["shard_number"], server.params(NAME)["replication_factor"]) == (2, 2)
    assert server.params(NAME)["quantization_config"]["scalar"]["type"] == "int8"
    with pytest.raises(CollectionExists):
        connect(server).create(META, name=NAME)


def test_the_aliases_are_right_if_the_answer_to_their_change_is_lost(server, connect, at_once):
    index = connect(server)
    for name in (NAME, "cxr_other"):
        index.create(META, name=name)
        server.fail_next("POST aliases", "lose", "drop", "lose")
        index.activate(name)
    assert (index.active(), index.previous()) == ("cxr_other", NAME)


@pytest.mark.parametrize("bundle_id", ["b1", "b2"])
def test_a_collection_that_was_cut_off_while_it_was_made_is_nobodys_until_it_is_finished(bundle_id, server, connect):
    index = connect(server, patience_s=0)
    # Before the fourth payload index could be made.
    real, made = index._client._client.create_payload_index, []

    def cut(*values):
        made.append(values)
        if len(made) == 4:
            raise KeyboardInterrupt
        return real(*values)

    index._client._client.create_payload_index = cut
    with pytest.raises(KeyboardInterrupt):
        index.create(META, name=NAME)
    assert index.collections() == {}
    with pytest.raises(NoCollection):
        index.open(NAME)
    again = connect(server)
    again.create(msgspec.structs.replace(META, bundle_id=bundle_id), name=NAME)
    assert again.collections()[NAME].bundle_id == bundle_id
    assert server.payload_indexes(NAME).keys() == {*KEYWORD_FIELDS, DATE_FIELD}


def test_a_collection_of_somebody_else_is_left_alone(server, connect):
    server.handle("create", NAME, {"vectors": {}, "metadata": {"owner": "somebody"}})
    index = connect(server, patience_s=0)
    assert index.collections() == {}
    with pytest.raises(CollectionExists):
        index.create(META, name=NAME)
    assert server.client.get_collection(NAME).config.metadata == {"owner": "somebody"}


def test_a_paused_optimiser_runs_again_even_if_the_run_was_cut_off(server, connect, encoder, archive):
    class Cut(Exception):
        pass

    def cut(done, total):
        if done >= 12:
            raise Cut

    with pytest.raises(Cut):
        Worker(encoder, connect(server), batch_size=4, pause_optimizer=True).run(
            IndianaSource(**archive), progress=CallOnProgress(cut)
        )
    assert server.indexing_threshold(NAME) == 0
    server.optimizing_polls = 2
    Worker(encoder, connect(server), batch_size=4).run(IndianaSource(**archive))
    assert server.indexing_threshold(NAME) > 0
    assert server.optimizing_polls == 0
    assert connect(server).collections()[NAME].complete


def test_an_error_of_the_request_is_not_repeated(server, connect):
    index = connect(server, patience_s=600)
    index.create(META, name=NAME)
    server.calls.clear()
    with pytest.raises(IndexFailure, match="refuses facet") as caught:
        index.open(NAME)._client.facet("cxr_unknown", key="view")
    assert not isinstance(caught.value, IndexUnreachable)
    assert server.calls.count("POST facet") == 1


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[QdrantStandIn]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with QdrantStandIn(tls=context, faults=FaultPlan(3, {"drop": 0.05, "lose": 0.05})) as started:
        yield started


def settings(home: Path, server: QdrantStandIn, **more: object) -> RetrievalSettings:
    return RetrievalSettings(home=home, index=server.url, index_patience_s=60, **more)


def test_a_certificate_of_ones_own_authority_is_trusted_by_its_file(secure, authority, home, encoder, archive):
    authority.cert_pem.write_to_path(str(home / "ca.pem"))
    index = open_index(settings(home, secure, index_ca_file=home / "ca.pem"), patient=True)
    assert Worker(encoder, index).run(IndianaSource(**archive)).indexed == 24
    index.close()


def test_an_unknown_certificate_is_told_at_once(secure, home):
    started = time.monotonic()
    with pytest.raises(IndexUnreachable, match=r"(?s)certificate.*CXR_INDEX_CA_FILE"):
        open_index(settings(home, secure), patient=True)
    assert time.monotonic() - started < 30
    assert secure.calls == []


def test_a_file_that_holds_no_certificate_is_named(secure, home):
    (home / "ca.pem").write_text("nonsense")
    with pytest.raises(SystemFailure, match=r"ca\.pem is not a readable PEM file"):
        open_index(settings(home, secure, index_ca_file=home / "ca.pem"), patient=True)


def test_https_to_a_plain_server_is_told_at_once(server, home):
    server.url = server.url.replace("http://", "https://")
    started = time.monotonic()
    with pytest.raises(IndexUnreachable, match="no secure connection"):
        open_index(settings(home, server), patient=True)
    assert time.monotonic() - started < 30
