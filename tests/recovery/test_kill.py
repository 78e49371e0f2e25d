"""An ingest that is killed many times, at chosen and random points, gives the same index as an uninterrupted one."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import WORDS, write_archive, write_tiny_bundle
from tests.recovery.kill_driver import SERVER_ENGINE, Driver, KillPoint, random_kill_point, start_driver
from tests.recovery.qdrant_stand_in import FaultPlan, QdrantStandIn
from tests.recovery.state import State, differences, read_edge, read_server
from tests.repetitions import repetitions

NAME = "cxr_tiny"
STUDIES = 150
KILLS = repetitions(15, 20)
KILLED = -signal.SIGKILL
WITH_QUARANTINE = 3

EDGE, SERVER = "retrieval.index.edge.collection:EdgeCollection", "retrieval.index.server.collection:ServerCollection"
# During the creation of the collection. `os:replace` gives a finished draft its final name.
CREATION_POINTS = {
    "edge": (
        KillPoint("retrieval.index.edge.shard:_config"),
        KillPoint("retrieval.index.edge.index:write_json"),
        KillPoint("os:replace"),
        KillPoint("os:replace", "before", 2),
        KillPoint("retrieval.index.edge.index:EdgeIndex.create", "after"),
    ),
    "server": (
        KillPoint("retrieval.index.server.index:ServerIndex._create_without_indexes"),
        KillPoint("retrieval.index.server.index:ServerIndex._create_without_indexes", "after"),
        KillPoint("retrieval.index.server.http:ServerClient.write", "after", 4),
        KillPoint("qdrant_client:QdrantClient.update_collection"),
    ),
}
LEDGER_POINTS = (
    KillPoint("ingest.ledger:Ledger.__init__", "during", delay_ms=2),
    KillPoint("ingest.ledger:Ledger.begin"),
    KillPoint("ingest.ledger:Ledger.remember_texts"),
    KillPoint("ingest.ledger:Ledger.remember_texts", "after", 2),
    KillPoint("ingest.ledger:Ledger.record"),
    KillPoint("ingest.ledger:Ledger.record", "after", 2),
    KillPoint("ingest.ledger:Ledger.quarantine"),
    KillPoint("os:replace", "before", 3),  # the draft of a thumbnail is written
    KillPoint("os:replace", "after", 4),
)


@dataclass
class Installation:
    """A home, and its index in a folder or on a server."""

    engine: str
    home: Path
    server: QdrantStandIn | None

    @property
    def modules(self) -> tuple[str, ...]:
        """What a driver loads for this engine."""
        return (SERVER_ENGINE,) if self.server else ()

    @property
    def environment(self) -> dict[str, str]:
        index = self.server.url if self.server else str(self.home / "index")
        return {
            "CXR_HOME": str(self.home),
            "CXR_INDEX": index,
            "CXR_INDEX_TIMEOUT_S": "1",
            "CXR_DEVICE": "cpu",
            "CXR_THREADS": "1",
        }

    def state(self) -> State:
        return read_server(self.server, self.home, NAME) if self.server else read_edge(self.home, NAME)


class KilledCommand:
    """One command that is killed at each of several points."""

    def __init__(self, driver: Driver, installation: Installation, arguments: list[str]) -> None:
        self._driver = driver
        self._place = installation
        self._arguments = arguments
        self.kills = 0

    def kill(self, *points: KillPoint) -> None:
        for point in points:
            code = self._driver.run(self._arguments, self._place.environment, point)
            log = self._driver.log.read_text()[-2000:]
            assert code == KILLED, f"the command ended before {point}: exit code {code}\n{log}"
            self.kills += 1

    def complete(self) -> int:
        return self._driver.run(self._arguments, self._place.environment)


@pytest.fixture(params=["edge", "server"])
def installations(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Installation, Installation]]:
    """Two installations: commands are killed in the first, whose server also fails; the second is undisturbed."""
    homes = [tmp_path / name for name in ("interrupted", "reference")]
    write_tiny_bundle(homes[0] / "models", "tiny", seed=0)
    shutil.copytree(homes[0], homes[1])
    with ExitStack() as stack:
        servers: list[QdrantStandIn | None] = [None, None]
        if request.param == "server":
            # Few random faults, because each costs the client half a second. Each kind of write meets some in any case.
            shares = {"drop": 0.004, "lose": 0.004, "503": 0.004, "500": 0.001, "429": 0.001, "stall": 0.0005}
            faulty = QdrantStandIn(faults=FaultPlan(seed=7, shares=shares))
            for call in ("PUT collection", "PUT index", "PATCH collection", "POST aliases", "PUT points"):
                faulty.fail_next(call, "lose", "503")
            for call in ("POST points/batch", "POST points/delete"):
                faulty.fail_next(call, "drop", "lose")
            servers = [stack.enter_context(faulty), stack.enter_context(QdrantStandIn())]
        yield tuple(Installation(request.param, home, server) for home, server in zip(homes, servers, strict=True))
        if servers[0]:
            assert servers[0].fault_counts.keys() >= {"drop", "lose", "503"}


@pytest.mark.thorough
@pytest.mark.timeout(300)
def test_an_ingest_killed_at_every_step_gives_the_index_of_an_uninterrupted_run(installations, tmp_path, capsys):
    interrupted, reference = installations
    rng = random.Random(11)
    archive = Archive(tmp_path / "archive")
    command = ["ingest", "--model", "tiny", "--batch-size", "6", "--read-threads", "2", *archive.options, "--json"]
    collection = EDGE if interrupted.engine == "edge" else SERVER
    with start_driver(tmp_path / "log", slow_ms=25, modules=interrupted.modules) as driver:
        first = KilledCommand(driver, interrupted, command)
        first.kill(*CREATION_POINTS[interrupted.engine], *LEDGER_POINTS)
        first.kill(KillPoint(f"{collection}.upsert"), KillPoint(f"{collection}.upsert", "after", 2))
        first.kill(*(random_kill_point(rng, f"{collection}.upsert", 25) for _ in range(repetitions(2, 6))))
        first.kill(
            *(random_kill_point(rng, f"{collection}.upsert", 100, external=True) for _ in range(repetitions(1, 3)))
        )
        first.kill(
            KillPoint(f"{collection}.optimize", "during", delay_ms=5),
            KillPoint(f"{collection}.record"),
            KillPoint(f"{collection}.record", "after"),
            KillPoint("ingest.ledger:Ledger.end"),
        )
        assert first.kills >= KILLS
        assert first.complete() == WITH_QUARANTINE
        assert KilledCommand(driver, reference, command).complete() == WITH_QUARANTINE
        _check_same_state(interrupted, reference)

        archive.change()
        changed = [*command, "--prune", "--yes"]
        second = KilledCommand(driver, interrupted, changed)
        second.kill(
            KillPoint(f"{collection}.record"),
            KillPoint(f"{collection}.replace_reports"),
            KillPoint(f"{collection}.replace_reports", "after"),
        )
        second.kill(*(random_kill_point(rng, f"{collection}.replace_reports", 25) for _ in range(repetitions(1, 3))))
        second.kill(
            KillPoint(f"{collection}.delete"),
            KillPoint(f"{collection}.delete", "during", delay_ms=1),
            KillPoint("ingest.ledger:Ledger.forget_older"),
        )
        assert second.complete() == WITH_QUARANTINE
        assert KilledCommand(driver, reference, changed).complete() == WITH_QUARANTINE
        _check_same_state(interrupted, reference)
    _check_that_nothing_is_left_to_do(interrupted, command)
    with capsys.disabled():
        print(f"\n{interrupted.engine}: {first.kills} + {second.kills} kills", end=" ")


def _check_same_state(interrupted: Installation, reference: Installation) -> None:
    found, expected = interrupted.state(), reference.state()
    assert len(expected.points) > STUDIES
    assert expected.meta.complete
    assert expected.ledger["quarantine"]
    assert differences(found, expected) == []
    assert found.unexpected_files == expected.unexpected_files == []


def _check_that_nothing_is_left_to_do(installation: Installation, command: list[str]) -> None:
    """Run the same command once more, in a new process."""
    ran = subprocess.run(
        [sys.executable, "-m", "cxr", *command],
        env=os.environ | installation.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == WITH_QUARANTINE, ran.stderr
    summary = json.loads(ran.stdout)
    assert (summary["indexed"], summary["updated"], summary["pruned"]) == (0, 0, 0)
    assert summary["unchanged"] == len(installation.state().points) - 1  # one file was damaged after it was indexed


class Archive:
    """An archive in the Indiana format with many different reports and some damaged files; `change` changes it once."""

    def __init__(self, folder: Path) -> None:
        self._paths = write_archive(folder, STUDIES)
        self._images = self._paths["images_dir"]
        self._reports = _read_rows(self._paths["reports_csv"])
        self._projections = _read_rows(self._paths["projections_csv"])
        for number, report in enumerate(self._reports[1:]):
            words = f"{WORDS[number % 23]} {WORDS[number % 19]}"
            report[6:8] = [f"{words} {text}" if text else "" for text in report[6:8]]
        (self._images / "1_Frontal.png").write_bytes(b"not an image")
        (self._images / "6_Frontal.png").write_bytes((self._images / "6_Frontal.png").read_bytes()[:300])
        (self._images / "9_Lateral.png").write_bytes(b"")
        (self._images / "55_Frontal.png").unlink()
        self._projections.insert(30, ["7", "../../secret.png", "Frontal"])
        self._projections.append(["8", "8_Frontal.png", "Frontal"])
        self._write()

    @property
    def options(self) -> list[str]:
        return [text for name, path in self._paths.items() for text in (f"--{name.replace('_', '-')}", str(path))]

    def change(self) -> None:
        """Change or empty some reports; replace, remove, damage and repair some images."""
        rng = np.random.default_rng(5)
        for number in range(10, 120, 2):
            report = self._reports[1 + number]
            report[6] = "" if number % 20 == 0 else f"{WORDS[number % 17]} {report[6]}"
            report[1] = "Nodule/lung" if number % 6 == 0 else report[1]
        for number in (3, 4, 60, 61, 62, 130):
            image = Image.fromarray(rng.integers(0, 255, (40, 48), dtype=np.uint8))
            image.save(self._images / f"{number}_Frontal.png")
        removed = {str(number) for number in (*range(20, 28), 140, 141)}
        self._projections = [row for row in self._projections if row[0] not in removed]
        Image.linear_gradient("L").resize((48, 40)).save(self._images / "1_Frontal.png")
        (self._images / "70_Frontal.png").write_bytes(b"damaged later")
        self._write()

    def _write(self) -> None:
        for name, rows in (("reports_csv", self._reports), ("projections_csv", self._projections)):
            with self._paths[name].open("w", newline="") as file:
                csv.writer(file).writerows(rows)


def _read_rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))
