"""A real cluster of three nodes with two replicas: no search of a service fails when one node is killed or stopped."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import write_archive, write_tiny_bundle
from tests.qdrant.servers import QdrantCluster, running_cluster
from tests.recovery.server_commands import cxr, ingest_options
from tests.service.test_serve import running

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

DEADLINE_S = 10.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QdrantCluster]:
    with running_cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.fixture(scope="module")
def home(cluster: QdrantCluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    write_tiny_bundle(folder / "models", "tiny", seed=0)
    options = ingest_options(write_archive(folder / "archive"))
    ended = cxr(folder, cluster.url, *options, "--shards", "3", "--replicas", "2")
    assert json.loads(ended.stdout)["indexed"] == 24, ended.stderr
    return folder


@pytest.mark.parametrize(("leave", "back"), [("kill", "restart"), ("stop", "resume")])
def test_no_search_fails_and_none_exceeds_its_deadline_when_any_node_is_away(leave, back, cluster, home):
    with running(home, CXR_INDEX=cluster.url, CXR_SERVICE_RATE_PER_MINUTE="0") as (_, port):

        def search() -> httpx.Response:
            return httpx.post(f"http://127.0.0.1:{port}/v1/search/text", json={"text": "heart", "k": 5}, timeout=60)

        expected = search().json()["hits"]
        assert len(expected) == 5
        for node in cluster.nodes:
            getattr(node, leave)()
            ends_at = time.monotonic() + 6
            while (started := time.monotonic()) < ends_at:
                answer = search()
                assert answer.status_code == 200, answer.text
                assert time.monotonic() - started < DEADLINE_S + 1
                assert [hit["image_id"] for hit in answer.json()["hits"]] == [hit["image_id"] for hit in expected]
            getattr(node, back)()
            cluster.wait_until_whole()
