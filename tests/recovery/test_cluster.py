"""Three real nodes with two replicas, of which one is killed, whichever it is: searches and an ingest go on."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.qdrant.servers import QdrantCluster, running_cluster
from tests.recovery.kill_driver import start_driver
from tests.recovery.server_site import NAME, Service, Site, running_service
from tests.recovery.strikes import Strike

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

AGAIN_WITHIN_S = 10.0
NODES = range(3)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QdrantCluster]:
    with running_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, cluster: QdrantCluster) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with start_driver(folder / "log", slow_ms=0) as driver:
        yield Site(folder, cluster.nodes[0], driver)


@pytest.fixture
def filled(cluster: QdrantCluster, site: Site) -> Site:
    """A complete collection of two shards with two replicas, on three nodes."""
    empty(cluster, site)
    ended = site.run(ingest(site), index=cluster.url)
    assert ended.code == 0, str(ended)
    return site


def empty(cluster: QdrantCluster, site: Site) -> None:
    site.empty()
    cluster.drop_all()


def ingest(site: Site) -> list[str]:
    return [*site.ingest, "--shards", "2", "--replicas", "2"]


def test_searches_of_a_service_go_on_within_10_s_when_any_node_is_killed(cluster, filled, tmp_path, capsys):
    took = []
    with running_service(filled.home, cluster.url, tmp_path / "log") as service:
        expected = [hit["study_id"] for hit in service.search().json()["hits"]]
        assert len(expected) == 5
        for node in cluster.nodes:
            node.kill()
            took.append(seconds_until_searches_succeed(service, expected))
            assert took[-1] < AGAIN_WITHIN_S, f"node {cluster.nodes.index(node)}"
            node.restart()
            cluster.wait_until_whole()
            assert service.search().status_code == 200
    with capsys.disabled():
        print(f"\nsearches succeed after {', '.join(f'{each:.2f}' for each in took)} s", end=" ")


def seconds_until_searches_succeed(service: Service, expected: list[str]) -> float:
    """Seconds until the last search that failed; ends after 3 s in which all have succeeded."""
    started = failed = time.monotonic()
    while time.monotonic() - failed < 3:
        answer = service.search()
        if answer.status_code != 200:
            failed = time.monotonic()
            assert failed - started < 60, answer.text
        else:
            assert [hit["study_id"] for hit in answer.json()["hits"]] == expected
    return failed - started


@pytest.mark.parametrize("number", NODES)
def test_an_ingest_goes_on_when_any_node_is_killed(cluster, site, number):
    empty(cluster, site)
    node = cluster.nodes[number]
    started = time.monotonic()
    assert site.run(ingest(site), index=cluster.url).code == 0
    took_s = time.monotonic() - started
    expected = site.state()
    empty(cluster, site)
    strike = Strike("kill", took_s * 0.7, None)
    ended = strike.during(node, lambda: site.run(ingest(site), index=cluster.url))
    assert ended is not None, "the ingest ended before the node was killed"
    assert ended.code == 0, str(ended)
    strike.undo(node)
    cluster.wait_until_whole()
    for each in cluster.nodes:
        counted = each.result("POST", f"/collections/{NAME}/points/count", {"exact": True})
        assert counted["count"] == len(expected.points)
    found = site.state()
    assert found.points == expected.points
    assert found.meta.complete


def test_doctor_names_a_dead_node_while_it_is_dead_and_is_silent_afterwards(cluster, filled):
    strike = Strike("kill", 0, None)
    for node in cluster.nodes:
        strike.carry_out(node)
        found = filled.run(["doctor"], index=cluster.url)
        assert found.code == 3, str(found)
        problems = [line.strip() for line in found.output.splitlines() if line.strip().startswith("problem")]
        named = {line.split()[1]: line for line in problems}
        assert named.keys() == {"nodes:", "replicas:"}, str(found)
        assert f"{node.url} does not answer" in named["nodes:"]
        assert node.p2p_url in named["replicas:"]
        strike.undo(node)
        cluster.wait_until_whole()
        healthy = filled.run(["doctor"], index=cluster.url)
        assert healthy.code == 0 and "problem" not in healthy.output, str(healthy)
