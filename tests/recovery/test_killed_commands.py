"""`ingest retry`, `snapshot create` and `use`, killed at random moments: the same command completes each of them.

A failure names the seed and the moment. `CXR_TEST_KILL_SEED` sets another seed.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import cxr.main
from tests.conftest import copy_home, write_archive, write_tiny_bundle
from tests.recovery.doomed import Driver, Moment, driving
from tests.recovery.state import differences, read_edge
from tests.repetitions import repetitions

SEED = int(os.environ.get("CXR_TEST_KILL_SEED", "41"))
KILLS = repetitions(7, 20)
KILLED = -signal.SIGKILL
ATTEMPTS = 3 * KILLS
STUDIES = 14
EDGE = "retrieval.index.edge.collection:EdgeCollection"
RETRY = ["ingest", "retry", "--model", "tiny-a", "--batch-size", "4"]


class Home:
    """A home that is put back to what it was before each command that is killed."""

    def __init__(self, folder: Path, driver: Driver) -> None:
        self.home = folder / "home"
        self._before = folder / "before"
        self._driver = driver

    @property
    def _environment(self) -> dict[str, str]:
        return {"CXR_HOME": str(self.home), "CXR_INDEX": str(self.home / "index"), "CXR_THREADS": "1"}

    def run(self, arguments: list[str], moment: Moment | None = None) -> int:
        return self._driver.run(arguments, self._environment, moment)

    def keep(self) -> None:
        copy_home(self.home, self._before)

    def put_back(self) -> None:
        shutil.rmtree(self.home)
        copy_home(self._before, self.home)

    def asked(self, *arguments: str) -> Any:
        result = CliRunner().invoke(cxr.main.app, [*arguments, "--json"], env=self._environment)
        return json.loads(result.stdout)

    def ailments(self) -> list[str]:
        """What doctor calls a problem."""
        found = self.asked("doctor")
        lists = [found["home"]["findings"], *(each["findings"] for each in found["collections"])]
        return [f"{one['check']}: {one['message']}" for each in lists for one in each if one["level"] == "problem"]


@contextmanager
def made(folder: Path, *models: str) -> Iterator[tuple[Home, list[str], list[Path]]]:
    """A home with bundles but no collections, the options of `cxr ingest` that name an archive, and its images."""
    archive = write_archive(folder / "archive", STUDIES)
    options = [text for name, path in archive.items() for text in (f"--{name.replace('_', '-')}", str(path))]
    with driving(folder / "log", slow_ms=0, cores=1) as driver:  # one core: one thread that reads, one decoding process
        home = Home(folder, driver)
        for seed, name in enumerate(models):
            write_tiny_bundle(home.home / "models", name, seed=seed)
        yield home, options, sorted(archive["images_dir"].iterdir())


@pytest.fixture(scope="module")
def retrying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home with one model, which has not read the files that were empty when they were ingested."""
    with made(tmp_path_factory.mktemp("retrying"), "tiny-a") as (home, options, images):
        good = {path: path.read_bytes() for path in images[6:]}
        for path in good:
            path.write_bytes(b"")
        assert home.run(["ingest", "--model", "tiny-a", *options]) == 3
        for path, content in good.items():
            path.write_bytes(content)
        home.keep()
        yield home


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home with two models over one archive, of which tiny-a is active."""
    with made(tmp_path_factory.mktemp("killed"), "tiny-a", "tiny-b") as (home, options, _):
        for name in ("tiny-a", "tiny-b"):
            assert home.run(["ingest", "--model", name, *options]) == 0
        home.keep()
        yield home


def moments(rng: random.Random, home: Home, arguments: list[str], *certain: Moment) -> Iterator[Moment]:
    """The `certain` ones, and then random ones for as long as the command takes."""
    home.put_back()
    started = time.perf_counter()
    assert home.run(arguments) == 0
    took_ms = (time.perf_counter() - started) * 1000
    yield from certain
    for _ in range(ATTEMPTS):
        yield Moment("cxr.main:main", "during", delay_ms=round(rng.uniform(0, took_ms), 1))


def killed(rng: random.Random, home: Home, arguments: list[str], *certain: Moment) -> Iterator[Moment]:
    """Moments at which the command was killed, on a home as it was before."""
    kills = 0
    for moment in moments(rng, home, arguments, *certain):
        home.put_back()
        code = home.run(arguments, moment)
        if code == 0:  # it was over before
            continue
        assert code == KILLED, (SEED, moment)
        kills += 1
        yield moment
        if kills == KILLS:
            return
    raise AssertionError(f"seed {SEED}: the command was over before {ATTEMPTS - kills} of {ATTEMPTS} moments")


@pytest.mark.thorough
@pytest.mark.timeout(300)
def test_a_killed_retry_is_completed_by_the_next(retrying):
    retrying.put_back()
    assert retrying.run(RETRY) == 0
    expected = read_edge(retrying.home, "cxr_tiny-a", ledger="cxr_tiny-a")
    images = len(expected.points)
    assert expected.meta.complete and expected.meta.counts == {"indiana": images}
    certain = (
        Moment(f"{EDGE}.upsert", "after", 2),
        Moment(f"{EDGE}.optimize"),
        Moment(f"{EDGE}.facet"),
        Moment("ingest.ledger:Ledger.record", "after", 2),
        Moment("ingest.ledger:Ledger.end"),
    )
    for moment in killed(random.Random(SEED), retrying, RETRY, *certain):
        agreed = {model["key"]: model.get("complete") for model in retrying.asked("models")["models"]}["tiny-a"]
        told = {each["model"]: each["complete"] for each in retrying.asked("ingest", "status")["collections"]}["tiny-a"]
        assert agreed == told, (SEED, moment)
        if moment in certain:  # each look of doctor costs as much as the command itself
            assert any("complete" in each for each in retrying.ailments()) != agreed, (SEED, moment)
        assert retrying.run(RETRY) == 0, (SEED, moment)
        assert differences(read_edge(retrying.home, "cxr_tiny-a", ledger="cxr_tiny-a"), expected) == [], (SEED, moment)
        assert retrying.ailments() == [], (SEED, moment)


@pytest.mark.thorough
@pytest.mark.timeout(300)
def test_a_killed_snapshot_leaves_a_private_draft_that_doctor_reports_and_the_next_removes(home, tmp_path):
    file = tmp_path / "away" / "there.zip"
    command = ["snapshot", "create", "tiny-b", str(file)]
    certain = (
        Moment("zipfile:ZipFile.writestr", "after", 1),
        Moment("ingest.snapshot:Snapshot.check"),
        Moment("os:replace"),
    )
    drafts = 0
    for moment in killed(random.Random(SEED), home, command, *certain):
        left = [path for path in file.parent.iterdir() if path != file] if file.parent.is_dir() else []
        drafts += len(left)
        for path in left:
            assert path.name.startswith(".there.zip.") and path.suffix == ".draft", (SEED, moment)
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, (SEED, moment)
        if left:
            reported = "".join(each for each in home.ailments() if each.startswith("leftovers"))
            assert [str(path) in reported for path in left] == [True] * len(left), (SEED, moment)
        assert home.run(command) == 0, (SEED, moment)
        assert [path.name for path in file.parent.iterdir()] == ["there.zip"], (SEED, moment)
        assert home.ailments() == [], (SEED, moment)
        file.unlink()
    assert drafts >= len(certain) - 1


@pytest.mark.thorough
@pytest.mark.timeout(300)
def test_a_killed_snapshot_is_removed_by_a_snapshot_of_another_folder(home, tmp_path):
    home.put_back()
    code = home.run(["snapshot", "create", "tiny-b", str(tmp_path / "one" / "a.zip")], Moment("os:replace"))
    assert code == KILLED and len(list((tmp_path / "one").iterdir())) == 1
    assert home.run(["snapshot", "create", "tiny-b", str(tmp_path / "other" / "b.zip")]) == 0
    assert list((tmp_path / "one").iterdir()) == []
    assert home.ailments() == []


@pytest.mark.thorough
@pytest.mark.timeout(300)
def test_a_killed_use_names_the_old_model_or_the_new_one(home):
    command = ["use", "tiny-b"]
    certain = (Moment("os:replace"), Moment("os:replace", "after"), Moment("retrieval.catalog:Catalog.close"))
    seen = set()
    for moment in killed(random.Random(SEED), home, command, *certain):
        (active,) = [model["key"] for model in home.asked("models")["models"] if model["active"]]
        seen.add(active)
        assert home.run(command) == 0, (SEED, moment)
        assert [model["key"] for model in home.asked("models")["models"] if model["active"]] == ["tiny-b"]
        assert home.ailments() == [], (SEED, moment)
    assert seen == {"tiny-a", "tiny-b"}


def test_a_killed_drop_is_completed_by_the_next(home):
    command = ["drop", "tiny-b", "--yes"]
    for moment in (Moment("os:replace"), Moment("os:replace", "after"), Moment("shutil:rmtree")):
        home.put_back()
        assert home.run(command, moment) == KILLED
        assert home.run(command) == 0, moment
        assert [model["key"] for model in home.asked("models")["models"] if model["collection"]] == ["tiny-a"]
        assert home.ailments() == [], moment
        assert home.run(command) == 1, moment  # there is none
