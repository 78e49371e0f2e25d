"""`ingest retry`, `snapshot create`, `use` and `drop`, killed at many points: the same command completes each.

Failures show the seed and the kill point. `CXR_TEST_KILL_SEED` sets another seed.
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
from tests.recovery.kill_driver import Driver, KillPoint, start_driver
from tests.recovery.state import differences, read_edge
from tests.repetitions import repetitions

SEED = int(os.environ.get("CXR_TEST_KILL_SEED", "41"))
KILLS = repetitions(7, 20)
KILLED = -signal.SIGKILL
ATTEMPTS = 3 * KILLS
STUDIES = 14
EDGE = "retrieval.index.edge.collection:EdgeCollection"
RETRY = ["ingest", "retry", "--model", "tiny-a", "--batch-size", "4"]


class ResettableHome:
    """A home that can be saved and restored, and the driver that runs commands on it."""

    def __init__(self, folder: Path, driver: Driver) -> None:
        self.home = folder / "home"
        self._saved = folder / "saved"
        self._driver = driver

    @property
    def _environment(self) -> dict[str, str]:
        return {"CXR_HOME": str(self.home), "CXR_INDEX": str(self.home / "index"), "CXR_THREADS": "1"}

    def run(self, arguments: list[str], point: KillPoint | None = None) -> int:
        return self._driver.run(arguments, self._environment, point)

    def save(self) -> None:
        copy_home(self.home, self._saved)

    def restore(self) -> None:
        shutil.rmtree(self.home)
        copy_home(self._saved, self.home)

    def run_json(self, *arguments: str) -> Any:
        result = CliRunner().invoke(cxr.main.app, [*arguments, "--json"], env=self._environment)
        return json.loads(result.stdout)

    def problems(self) -> list[str]:
        """The problems that `cxr doctor` finds."""
        diagnosis = self.run_json("doctor")
        lists = [diagnosis["home"]["findings"], *(each["findings"] for each in diagnosis["collections"])]
        return [f"{one['check']}: {one['message']}" for each in lists for one in each if one["level"] == "problem"]


@contextmanager
def prepare_home(folder: Path, *models: str) -> Iterator[tuple[ResettableHome, list[str], list[Path]]]:
    """A home with bundles but no collections, the options of `cxr ingest` for an archive, and the archive's images."""
    archive = write_archive(folder / "archive", STUDIES)
    options = [text for name, path in archive.items() for text in (f"--{name.replace('_', '-')}", str(path))]
    # One core gives one reading thread and one decoder.
    with start_driver(folder / "log", slow_ms=0, cores=1) as driver:
        home = ResettableHome(folder, driver)
        for seed, name in enumerate(models):
            write_tiny_bundle(home.home / "models", name, seed=seed)
        yield home, options, sorted(archive["images_dir"].iterdir())


@pytest.fixture(scope="module")
def retry_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ResettableHome]:
    """A home with one model. Files that were empty during the ingest are quarantined, and readable now."""
    with prepare_home(tmp_path_factory.mktemp("retry_home"), "tiny-a") as (home, options, images):
        good = {path: path.read_bytes() for path in images[6:]}
        for path in good:
            path.write_bytes(b"")
        assert home.run(["ingest", "--model", "tiny-a", *options]) == 3
        for path, content in good.items():
            path.write_bytes(content)
        home.save()
        yield home


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ResettableHome]:
    """A home with two models of one archive; `tiny-a` is active."""
    with prepare_home(tmp_path_factory.mktemp("killed"), "tiny-a", "tiny-b") as (home, options, _):
        for name in ("tiny-a", "tiny-b"):
            assert home.run(["ingest", "--model", name, *options]) == 0
        home.save()
        yield home


def kill_repeatedly(
    rng: random.Random, home: ResettableHome, arguments: list[str], *chosen: KillPoint
) -> Iterator[KillPoint]:
    """Kill the command on copies of the saved home. Gives each kill point that was reached.

    First the `chosen` points, then random ones within the shortest duration of the command so far.
    """
    took_ms = _run_on_copy(home, arguments, None)
    assert took_ms is not None
    points, kills = list(chosen), 0
    for _ in range(ATTEMPTS):
        delay_ms = round(rng.uniform(0, took_ms), 1)
        point = points.pop(0) if points else KillPoint("cxr.main:main", "during", delay_ms=delay_ms)
        ended_ms = _run_on_copy(home, arguments, point)
        if ended_ms is not None:
            took_ms = min(took_ms, ended_ms)
            continue
        kills += 1
        yield point
        if kills == KILLS:
            return
    raise AssertionError(f"seed {SEED}: the command ended before {ATTEMPTS - kills} of {ATTEMPTS} kill points")


def _run_on_copy(home: ResettableHome, arguments: list[str], point: KillPoint | None) -> float | None:
    """Run the command on a copy of the saved home. Gives its duration in ms, or None if it was killed."""
    home.restore()
    started = time.perf_counter()
    code = home.run(arguments, point)
    assert code in (0, KILLED), (SEED, point)
    return (time.perf_counter() - started) * 1000 if code == 0 else None


@pytest.mark.thorough
@pytest.mark.timeout(300)
def test_a_killed_retry_is_completed_by_the_next_retry(retry_home):
    retry_home.restore()
    assert retry_home.run(RETRY) == 0
    expected = read_edge(retry_home.home, "cxr_tiny-a", ledger="cxr_tiny-a")
    images = len(expected.points)
    assert expected.meta.complete and expected.meta.counts == {"indiana": images}
    chosen = (
        KillPoint(f"{EDGE}.upsert", "after", 2),
        KillPoint(f"{EDGE}.optimize"),
        KillPoint(f"{EDGE}.facet"),
        KillPoint("ingest.ledger:Ledger.record", "after", 2),
        KillPoint("ingest.ledger:Ledger.end"),
    )
    for point in kill_repeatedly(random.Random(SEED), retry_home, RETRY, *chosen):
        models = retry_home.run_json("models")["models"]
        (complete,) = [model.get("complete") for model in models if model["key"] == "tiny-a"]
        collections = retry_home.run_json("ingest", "status")["collections"]
        assert [each["complete"] for each in collections if each["model"] == "tiny-a"] == [complete], (SEED, point)
        if point in chosen:  # `cxr doctor` takes as long as the command itself
            assert any("complete" in each for each in retry_home.problems()) != complete, (SEED, point)
        assert retry_home.run(RETRY) == 0, (SEED, point)
        assert differences(read_edge(retry_home.home, "cxr_tiny-a", ledger="cxr_tiny-a"), expected) == [], (SEED, point)
        assert retry_home.problems() == [], (SEED, point)


@pytest.mark.thorough
@pytest.mark.timeout(300)
def test_a_killed_snapshot_leaves_a_private_draft_that_doctor_reports_and_the_next_snapshot_removes(home, tmp_path):
    file = tmp_path / "away" / "there.zip"
    command = ["snapshot", "create", "tiny-b", str(file)]
    chosen = (
        KillPoint("zipfile:ZipFile.writestr", "after", 1),
        KillPoint("ingest.snapshot:Snapshot.check"),
        KillPoint("os:replace"),
    )
    draft_count = 0
    for point in kill_repeatedly(random.Random(SEED), home, command, *chosen):
        drafts = [path for path in file.parent.iterdir() if path != file] if file.parent.is_dir() else []
        draft_count += len(drafts)
        for path in drafts:
            assert path.name.startswith(".there.zip.") and path.suffix == ".draft", (SEED, point)
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, (SEED, point)
        if drafts:
            reported = "".join(each for each in home.problems() if each.startswith("leftovers"))
            assert [str(path) in reported for path in drafts] == [True] * len(drafts), (SEED, point)
        assert home.run(command) == 0, (SEED, point)
        assert [path.name for path in file.parent.iterdir()] == ["there.zip"], (SEED, point)
        assert home.problems() == [], (SEED, point)
        file.unlink()
    assert draft_count >= len(chosen) - 1


@pytest.mark.thorough
@pytest.mark.timeout(300)
def test_the_draft_of_a_killed_snapshot_is_removed_by_a_snapshot_into_another_folder(home, tmp_path):
    home.restore()
    code = home.run(["snapshot", "create", "tiny-b", str(tmp_path / "one" / "a.zip")], KillPoint("os:replace"))
    assert code == KILLED and len(list((tmp_path / "one").iterdir())) == 1
    assert home.run(["snapshot", "create", "tiny-b", str(tmp_path / "other" / "b.zip")]) == 0
    assert list((tmp_path / "one").iterdir()) == []
    assert home.problems() == []


@pytest.mark.thorough
@pytest.mark.timeout(300)
def test_after_a_killed_use_the_old_or_the_new_model_is_active(home):
    command = ["use", "tiny-b"]
    chosen = (KillPoint("os:replace"), KillPoint("os:replace", "after"), KillPoint("retrieval.catalog:Catalog.close"))
    seen = set()
    for point in kill_repeatedly(random.Random(SEED), home, command, *chosen):
        (active,) = [model["key"] for model in home.run_json("models")["models"] if model["active"]]
        seen.add(active)
        assert home.run(command) == 0, (SEED, point)
        assert [model["key"] for model in home.run_json("models")["models"] if model["active"]] == ["tiny-b"]
        assert home.problems() == [], (SEED, point)
    assert seen == {"tiny-a", "tiny-b"}


def test_a_killed_drop_is_completed_by_the_next_drop(home):
    command = ["drop", "tiny-b", "--yes"]
    for point in (KillPoint("os:replace"), KillPoint("os:replace", "after"), KillPoint("shutil:rmtree")):
        home.restore()
        assert home.run(command, point) == KILLED
        assert home.run(command) == 0, point
        assert [model["key"] for model in home.run_json("models")["models"] if model["collection"]] == ["tiny-a"]
        assert home.problems() == [], point
        assert home.run(command) == 1, point  # the collection is gone
