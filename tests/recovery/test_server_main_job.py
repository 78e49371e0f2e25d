"""The main job on real servers: ingest, search, snapshots both ways, push both ways, use, drop, restore."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.recovery.kill_driver import start_driver
from tests.recovery.server_site import Site

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


@pytest.fixture(params=["node", "cluster"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Site, str, list[str]]]:
    """A home, the address of a server, and the layout of its collections."""
    running = request.getfixturevalue(f"qdrant_{request.param}")
    node, layout = running, []
    if request.param == "cluster":
        node, layout = running.nodes[0], ["--shards", "2", "--replicas", "2"]
    with start_driver(tmp_path / "log", slow_ms=0) as driver:
        yield Site(tmp_path, node, driver), running.url, layout
    running.drop_all()


def test_the_main_job_gives_the_same_hits_on_a_server_and_in_every_copy(server, tmp_path):
    site, url, layout = server
    folders = [str(site.home / "index"), str(tmp_path / "restored"), str(tmp_path / "pushed")]

    def run(*arguments: str, index: str = url) -> str:
        ended = site.run(list(arguments), index=index)
        assert ended.code == 0, str(ended)
        return ended.output

    def hits(index: str) -> list[object]:
        output = run("search", "--text", "large effusion", "-k", "8", "--json", index=index)
        found = json.loads(output[output.index("{") :])["hits"]
        return [(hit["image_id"], pytest.approx(hit["score"], abs=1e-4)) for hit in found]

    run(*site.ingest, *layout)
    expected = hits(url)
    assert len(expected) == 8
    assert hits(folders[0]) == expected
    run("use", "tiny")
    assert "tiny" in run("models")
    run("ingest", "status")
    file = str(tmp_path / "from-server.zip")
    run("snapshot", "create", "tiny", file)
    run("snapshot", "restore", file, index=folders[1])
    run("push", "tiny", "--to", folders[2])
    for folder in folders[1:]:
        assert hits(folder) == expected
    run("drop", "tiny", "--yes", "--force")
    run("snapshot", "restore", file, *layout)
    assert hits(url) == expected
    run("push", "tiny", "--to", url, "--recreate", *layout, index=folders[2])
    assert hits(url) == expected
    run("doctor")
