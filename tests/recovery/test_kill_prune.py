"""`cxr ingest --prune --yes`, killed at many points: the same command completes it, and doctor finds no problem."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import write_tiny_bundle
from tests.recovery.kill_driver import KillPoint, start_driver
from tests.recovery.qdrant_stand_in import QdrantStandIn
from tests.recovery.test_kill import EDGE, KILLED, SERVER, Installation, KilledCommand
from tests.repetitions import repetitions

IMAGES = 70
REMOVED_EACH_TIME = 3
PRUNE = "ingest.worker:Worker._prune"


@pytest.fixture(params=["edge", "server"])
def installation(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Installation]:
    write_tiny_bundle(tmp_path / "home" / "models", "tiny", seed=0)
    with ExitStack() as stack:
        server = stack.enter_context(QdrantStandIn()) if request.param == "server" else None
        yield Installation(request.param, tmp_path / "home", server)


def kill_points(engine: str, rng: random.Random) -> Iterator[KillPoint]:
    """First chosen points in the removal, then random ones in the removal and in the whole run."""
    collection = EDGE if engine == "edge" else SERVER
    yield from (
        KillPoint(f"{collection}.delete"),
        KillPoint(f"{collection}.delete", "after"),
        KillPoint("ingest.ledger:Ledger.forget"),
        KillPoint("ingest.ledger:Ledger.forget", "after"),
        KillPoint("pathlib:Path.unlink"),
        KillPoint("ingest.ledger:Ledger.end"),
    )
    while True:
        yield KillPoint(PRUNE, "during", 1, round(rng.uniform(0, 30), 2))
        yield KillPoint("ingest.worker:Worker.run", "during", 1, round(rng.uniform(0, 400), 2))


@pytest.mark.thorough
@pytest.mark.timeout(300)
def test_a_prune_killed_at_any_point_is_completed_by_the_same_command(
    installation: Installation, tmp_path: Path, capsys
) -> None:
    rng = random.Random(5)
    archive = tmp_path / "archive"
    archive.mkdir()
    for number in range(IMAGES):
        pixels = np.random.default_rng(number).integers(0, 255, (40, 48), dtype=np.uint8)
        Image.fromarray(pixels).save(archive / f"{number:03}.png")
    command = ["ingest", "--model", "tiny", "--batch-size", "32", "--read-threads", "2", "--images-dir", str(archive)]
    kills = 0
    with start_driver(tmp_path / "log", slow_ms=25, modules=installation.modules) as driver:
        assert KilledCommand(driver, installation, command).complete() == 0
        for point in kill_points(installation.engine, rng):
            removed = {path: path.read_bytes() for path in rng.sample(sorted(archive.iterdir()), REMOVED_EACH_TIME)}
            for path in removed:
                path.unlink()
            prune = [*command, "--prune", "--yes"]
            if (
                driver.run(prune, installation.environment, point) != KILLED
            ):  # the command may end before a random point
                for path, content in removed.items():
                    path.write_bytes(content)
                continue
            kills += 1
            assert KilledCommand(driver, installation, prune).complete() == 0, driver.log.read_text()[-2000:]
            state = installation.state()
            remaining = {path.name for path in archive.iterdir()}
            assert {payload["image_id"] for payload, _ in state.points.values()} == remaining
            assert {row[1] for row in state.ledger["files"]} == remaining
            assert len(state.media) == len(remaining)
            assert (state.meta.counts, state.meta.complete, state.unexpected_files) == (
                {"images": len(remaining)},
                True,
                [],
            )
            assert "cxr_tiny" in state.aliases.values()
            assert driver.run(["doctor"], installation.environment) == 0, driver.log.read_text()[-2000:]
            if kills == repetitions(9, 20):
                break
    with capsys.disabled():
        print(f"\n{installation.engine}: {kills} kills of prune", end=" ")
