"""A collection pushed to a server over HTTP: payload indexes first, through faults, after a kill, with its key."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import stamina

import cxr.main
from ingest.transfer import LoadOptions, push
from retrieval.errors import IndexForbidden
from retrieval.index.edge.index import EdgeIndex
from retrieval.index.schema import DATE_FIELD, KEYWORD_FIELDS
from retrieval.index.server.index import ServerIndex
from retrieval.index.server.optimizer import LOAD_FROM_IMAGES
from tests.congruence.conftest import NAME
from tests.recovery.qdrant_stand_in import FaultPlan, QdrantStandIn
from tests.retrieval.engines import COUNT, WHOLE, contents, load, points_of_reports

POINTS = points_of_reports()


def pushed(home, url, *options, **environment):
    kept = {key: value for key, value in os.environ.items() if not key.startswith("CXR_")}
    return subprocess.Popen(
        [sys.executable, "-m", "cxr", "push", "congruence", "--to", url, *options, "--json"],
        cwd=Path(cxr.__file__).parents[1],
        env=kept | {"CXR_HOME": str(home)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def assert_same(server, source):
    expected, copied = contents(source), contents(server)
    assert copied.keys() == expected.keys()
    for point_id, (payload, vectors) in expected.items():
        assert copied[point_id][0] == payload
        for name, vector in vectors.items():
            np.testing.assert_allclose(copied[point_id][1][name], vector, atol=2e-3)


@pytest.fixture
def embedded(tmp_path):
    """A home with the collection, closed, so that other processes can open it."""
    return home_with(POINTS, tmp_path / "home")


def home_with(points, home):
    index = EdgeIndex(home / "index")
    load(index, points)
    index.close()
    return home


def test_a_push_works_through_faults_and_makes_payload_indexes_first(embedded):
    source = EdgeIndex(embedded / "index")
    shares = {"drop": 0.1, "lose": 0.1, "503": 0.1, "429": 0.05}
    with QdrantStandIn(faults=FaultPlan(seed=7, shares=shares)) as server, stamina.set_testing(True, attempts=40):
        target = ServerIndex.connect(server.url, api_key=None, timeout_s=5, patience_s=30)
        done = push(source.open(NAME), target, LoadOptions(shards=3, replicas=2, quantization="int8"))
        assert server.fault_counts.total() >= 3
        server.stop_faults()
        assert (done.images, done.kept, done.complete, done.active) == (COUNT, 0, True, True)
        assert server.payload_indexes(NAME) == dict.fromkeys(KEYWORD_FIELDS, "keyword") | {DATE_FIELD: "datetime"}
        calls = server.calls
        last_index = max(n for n, call in enumerate(calls) if call == "PUT index")
        assert last_index < calls.index("PUT points")
        params = server.params(NAME)
        assert (params["shard_number"], params["replication_factor"]) == (3, 2)
        assert params["quantization_config"]["scalar"]["type"] == "int8"
        assert target.collections()[NAME].counts == WHOLE.counts
        assert_same(target.open(NAME), source.open(NAME))
        target.close()
    source.close()


def test_after_a_kill_a_push_sends_only_the_rest_and_ends_the_load(tmp_path):
    count = LOAD_FROM_IMAGES + 200
    embedded = home_with(points_of_reports(count), tmp_path / "home")
    with QdrantStandIn() as server:
        first = pushed(embedded, server.url)
        held = 0
        while held < 200:
            assert first.poll() is None, first.communicate()
            time.sleep(0.005)
            # While the lock is held the server takes nothing in, so that the kill meets a push in its middle.
            with server.lock:
                held = server.client.count(NAME).count if server.client.collection_exists(NAME) else 0
                if held >= 200:
                    first.send_signal(signal.SIGKILL)
                    first.wait()
        first.communicate()
        assert first.returncode == -signal.SIGKILL
        assert server.indexing_threshold(NAME) == 0
        time.sleep(0.2)  # a request that was under way when its sender died is still handled
        held = server.client.count(NAME).count
        assert 200 <= held < count
        target = ServerIndex.connect(server.url, api_key=None, timeout_s=5)
        assert not target.collections()[NAME].complete
        assert target.active() is None
        again = pushed(embedded, server.url)
        done = json.loads(again.communicate(timeout=60)[0])
        assert (done["sent"], done["unchanged"]) == (count - held, held)
        assert done["complete"] and done["active"]
        assert server.indexing_threshold(NAME) > 0
        source = EdgeIndex(embedded / "index")
        assert_same(target.open(NAME), source.open(NAME))
        source.close()
        target.close()


def test_a_push_uses_the_api_key_of_the_settings(embedded):
    with QdrantStandIn(api_key="s3cret") as server:
        refused = pushed(embedded, server.url, CXR_INDEX_PATIENCE_S="0")
        assert json.loads(refused.communicate(timeout=60)[0])["error"]["code"] == IndexForbidden.code
        opened = pushed(embedded, server.url, CXR_INDEX_API_KEY="s3cret")
        out, error = opened.communicate(timeout=60)
        assert json.loads(out)["sent"] == COUNT
        assert "s3cret" not in out + error
