"""`cxr ingest --prune --yes`, killed at 20 random moments: the same command completes each, and doctor calls it healthy."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import write_tiny_bundle
from tests.recovery.doomed import Moment, driving
from tests.recovery.qdrant_stand_in import QdrantStandIn
from tests.recovery.test_kill import EDGE, KILLED, SERVER, Job, Place
from tests.repetitions import repetitions

IMAGES = 70
GONE_EACH_TIME = 3
PRUNE = "ingest.worker:Worker._prune"


@pytest.fixture(params=["edge", "server"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    write_tiny_bundle(tmp_path / "home" / "models", "tiny", seed=0)
    with ExitStack() as stack:
        server = stack.enter_context(QdrantStandIn()) if request.param == "server" else None
        yield Place(request.param, tmp_path / "home", server)


def moments(engine: str, rng: random.Random) -> Iterator[Moment]:
    """Chosen moments of the removal first, then random ones of it and of the whole run."""
    collection = EDGE if engine == "edge" else SERVER
    yield from (
        Moment(f"{collection}.delete"),
        Moment(f"{collection}.delete", "after"),
        Moment("ingest.ledger:Ledger.forget"),
        Moment("ingest.ledger:Ledger.forget", "after"),
        Moment("pathlib:Path.unlink"),
        Moment("ingest.ledger:Ledger.end"),
    )
    while True:
        yield Moment(PRUNE, "during", 1, round(rng.uniform(0, 30), 2))
        yield Moment("ingest.worker:Worker.run", "during", 1, round(rng.uniform(0, 400), 2))


@pytest.mark.thorough
@pytest.mark.timeout(300)
def test_a_prune_killed_at_any_moment_is_completed_by_the_same_command(place: Place, tmp_path: Path, capsys) -> None:
    rng = random.Random(5)
    archive = tmp_path / "archive"
    archive.mkdir()
    for number in range(IMAGES):
        pixels = np.random.default_rng(number).integers(0, 255, (40, 48), dtype=np.uint8)
        Image.fromarray(pixels).save(archive / f"{number:03}.png")
    command = ["ingest", "--model", "tiny", "--batch-size", "32", "--read-threads", "2", "--images-dir", str(archive)]
    kills = 0
    with driving(tmp_path / "log", slow_ms=25) as driver:
        assert Job(driver, place, command).finish() == 0
        for moment in moments(place.engine, rng):
            gone = {path: path.read_bytes() for path in rng.sample(sorted(archive.iterdir()), GONE_EACH_TIME)}
            for path in gone:
                path.unlink()
            prune = [*command, "--prune", "--yes"]
            if driver.run(prune, place.environment, moment) != KILLED:  # a random moment may come too late
                for path, content in gone.items():
                    path.write_bytes(content)
                continue
            kills += 1
            assert Job(driver, place, prune).finish() == 0, driver.log.read_text()[-2000:]
            state = place.state()
            left = {path.name for path in archive.iterdir()}
            assert {payload["image_id"] for payload, _ in state.points.values()} == left
            assert {row[1] for row in state.ledger["files"]} == left
            assert len(state.media) == len(left)
            assert (state.meta.counts, state.meta.complete, state.strays) == ({"images": len(left)}, True, [])
            assert "cxr_tiny" in state.aliases.values()
            assert driver.run(["doctor"], place.environment) == 0, driver.log.read_text()[-2000:]
            if kills == repetitions(9, 20):
                break
    with capsys.disabled():
        print(f"\n{place.engine}: {kills} kills of prune", end=" ")
