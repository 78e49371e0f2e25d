"""A job that is killed again and again, at chosen and at random moments, ends in the index of an undisturbed run."""

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
from tests.recovery.doomed import Driver, Moment, driving, somewhere
from tests.recovery.qdrant_stand_in import FaultPlan, QdrantStandIn
from tests.recovery.state import State, differences, read_edge, read_stand_in
from tests.repetitions import repetitions

NAME = "cxr_tiny"
STUDIES = 150
KILLS = repetitions(15, 20)
KILLED = -signal.SIGKILL
WITH_QUARANTINE = 3

EDGE, SERVER = "retrieval.index.edge.collection:EdgeCollection", "retrieval.index.server.collection:ServerCollection"
# While the collection is made. `os:replace` puts the finished draft of a file in its place.
MAKING = {
    "edge": (
        Moment("retrieval.index.edge.shard:_config"),
        Moment("retrieval.index.edge.index:write_json"),
        Moment("os:replace"),
        Moment("os:replace", "before", 2),
        Moment("retrieval.index.edge.index:EdgeIndex.create", "after"),
    ),
    "server": (
        Moment("qdrant_client:QdrantClient.create_collection"),
        Moment("retrieval.index.server.index:ServerIndex._create_without_indexes", "after"),
        Moment("qdrant_client:QdrantClient.create_payload_index", "after", 4),
        Moment("qdrant_client:QdrantClient.update_collection"),
    ),
}
LEDGER = (
    Moment("ingest.ledger:Ledger.__init__", "during", delay_ms=2),
    Moment("ingest.ledger:Ledger.begin"),
    Moment("ingest.ledger:Ledger.remember_texts"),
    Moment("ingest.ledger:Ledger.remember_texts", "after", 2),
    Moment("ingest.ledger:Ledger.record"),
    Moment("ingest.ledger:Ledger.record", "after", 2),
    Moment("ingest.ledger:Ledger.quarantine"),
    Moment("os:replace", "before", 3),  # a thumbnail is drafted
    Moment("os:replace", "after", 4),
)


@dataclass
class Place:
    """A home and its index."""

    engine: str
    home: Path
    server: QdrantStandIn | None

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
        return read_stand_in(self.server, self.home, NAME) if self.server else read_edge(self.home, NAME)


class Job:
    """One command, killed at each of a list of moments."""

    def __init__(self, driver: Driver, place: Place, arguments: list[str]) -> None:
        self._driver = driver
        self._place = place
        self._arguments = arguments
        self.kills = 0

    def kill(self, *moments: Moment) -> None:
        for moment in moments:
            code = self._driver.run(self._arguments, self._place.environment, moment)
            log = self._driver.log.read_text()[-2000:]
            assert code == KILLED, f"the job was over before {moment}: exit code {code}\n{log}"
            self.kills += 1

    def finish(self) -> int:
        return self._driver.run(self._arguments, self._place.environment)


@pytest.fixture(params=["edge", "server"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Place, Place]]:
    """Where the job is killed, on a server that fails, too, and where it is left alone."""
    homes = [tmp_path / name for name in ("disturbed", "undisturbed")]
    write_tiny_bundle(homes[0] / "models", "tiny", seed=0)
    shutil.copytree(homes[0], homes[1])
    with ExitStack() as stack:
        servers: list[QdrantStandIn | None] = [None, None]
        if request.param == "server":
            # Few by chance, because each costs the client half a second; each kind of write meets one for certain.
            shares = {"drop": 0.004, "lose": 0.004, "503": 0.004, "500": 0.001, "429": 0.001, "stall": 0.0005}
            faulty = QdrantStandIn(faults=FaultPlan(seed=7, shares=shares))
            for call in ("PUT collection", "PUT index", "PATCH collection", "POST aliases", "PUT points"):
                faulty.fail_next(call, "lose", "503")
            for call in ("POST points/batch", "POST points/delete"):
                faulty.fail_next(call, "drop", "lose")
            servers = [stack.enter_context(faulty), stack.enter_context(QdrantStandIn())]
        yield tuple(Place(request.param, home, server) for home, server in zip(homes, servers, strict=True))
        if servers[0]:
            assert servers[0].met.keys() >= {"drop", "lose", "503"}


@pytest.mark.thorough
@pytest.mark.timeout(300)
def test_a_job_killed_at_every_turn_ends_in_the_index_of_an_undisturbed_run(places, tmp_path, capsys):
    disturbed, undisturbed = places
    rng = random.Random(11)
    archive = Archive(tmp_path / "archive")
    command = ["ingest", "--model", "tiny", "--batch-size", "6", "--read-threads", "2", *archive.options, "--json"]
    collection = EDGE if disturbed.engine == "edge" else SERVER
    with driving(tmp_path / "log", slow_ms=25) as driver:
        first = Job(driver, disturbed, command)
        first.kill(*MAKING[disturbed.engine], *LEDGER)
        first.kill(Moment(f"{collection}.upsert"), Moment(f"{collection}.upsert", "after", 2))
        first.kill(*(somewhere(rng, f"{collection}.upsert", 25) for _ in range(repetitions(2, 6))))
        first.kill(*(somewhere(rng, f"{collection}.upsert", 100, outside=True) for _ in range(repetitions(1, 3))))
        first.kill(
            Moment(f"{collection}.optimize", "during", delay_ms=5),
            Moment(f"{collection}.record"),
            Moment(f"{collection}.record", "after"),
            Moment("ingest.ledger:Ledger.end"),
        )
        assert first.kills >= KILLS
        assert first.finish() == WITH_QUARANTINE
        assert Job(driver, undisturbed, command).finish() == WITH_QUARANTINE
        _compare(disturbed, undisturbed)

        archive.change()
        changed = [*command, "--prune", "--yes"]
        second = Job(driver, disturbed, changed)
        second.kill(
            Moment(f"{collection}.record"),
            Moment(f"{collection}.replace_reports"),
            Moment(f"{collection}.replace_reports", "after"),
        )
        second.kill(*(somewhere(rng, f"{collection}.replace_reports", 25) for _ in range(repetitions(1, 3))))
        second.kill(
            Moment(f"{collection}.delete"),
            Moment(f"{collection}.delete", "during", delay_ms=1),
            Moment("ingest.ledger:Ledger.forget_older"),
        )
        assert second.finish() == WITH_QUARANTINE
        assert Job(driver, undisturbed, changed).finish() == WITH_QUARANTINE
        _compare(disturbed, undisturbed)
    _nothing_is_left_to_do(disturbed, command)
    with capsys.disabled():
        print(f"\n{disturbed.engine}: {first.kills} + {second.kills} kills", end=" ")


def _compare(disturbed: Place, undisturbed: Place) -> None:
    found, expected = disturbed.state(), undisturbed.state()
    assert len(expected.points) > STUDIES
    assert expected.meta.complete
    assert expected.ledger["quarantine"]
    assert differences(found, expected) == []
    assert found.strays == expected.strays == []


def _nothing_is_left_to_do(place: Place, command: list[str]) -> None:
    """The same command once more, as a process of its own."""
    ran = subprocess.run(
        [sys.executable, "-m", "cxr", *command],
        env=os.environ | place.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == WITH_QUARANTINE, ran.stderr
    summary = json.loads(ran.stdout)
    assert (summary["indexed"], summary["updated"], summary["pruned"]) == (0, 0, 0)
    assert summary["unchanged"] == len(place.state().points) - 1  # one file went bad after it was indexed


class Archive:
    """An archive in the Indiana form with many different reports and some bad files, which changes once."""

    def __init__(self, folder: Path) -> None:
        self._paths = write_archive(folder, STUDIES)
        self._images = self._paths["images_dir"]
        self._reports = _read(self._paths["reports_csv"])
        self._projections = _read(self._paths["projections_csv"])
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
        """Some reports say something else or nothing, some images are others, some are gone, some good, some bad now."""
        rng = np.random.default_rng(5)
        for number in range(10, 120, 2):
            report = self._reports[1 + number]
            report[6] = "" if number % 20 == 0 else f"{WORDS[number % 17]} {report[6]}"
            report[1] = "Nodule/lung" if number % 6 == 0 else report[1]
        for number in (3, 4, 60, 61, 62, 130):
            image = Image.fromarray(rng.integers(0, 255, (40, 48), dtype=np.uint8))
            image.save(self._images / f"{number}_Frontal.png")
        gone = {str(number) for number in (*range(20, 28), 140, 141)}
        self._projections = [row for row in self._projections if row[0] not in gone]
        Image.linear_gradient("L").resize((48, 40)).save(self._images / "1_Frontal.png")
        (self._images / "70_Frontal.png").write_bytes(b"damaged since")
        self._write()

    def _write(self) -> None:
        for name, rows in (("reports_csv", self._reports), ("projections_csv", self._projections)):
            with self._paths[name].open("w", newline="") as file:
                csv.writer(file).writerows(rows)


def _read(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))
