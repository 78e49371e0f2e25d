"""After a killed command, the right command completes the collection; status, models, doctor and use agree on it."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import cxr.main
from retrieval.index.edge.collection import META
from retrieval.index.edge.index import EdgeIndex
from tests.conftest import write_archive, write_tiny_bundle
from tests.recovery.kill_driver import Driver, KillPoint, start_driver

KILLED = -signal.SIGKILL
EDGE = "retrieval.index.edge.collection:EdgeCollection"
HALFWAY = KillPoint(f"{EDGE}.upsert", "after", 2)
ALL_INDEXED = KillPoint(f"{EDGE}.facet")
"""All images are in the index and in the ledger, but the collection is not yet marked as complete."""


class Workspace:
    """A home, two archives, and the commands that ingest them or show whether a collection is complete."""

    def __init__(self, folder: Path, driver: Driver) -> None:
        self.home = folder / "home"
        self.files = write_archive(folder / "archive", 12)
        self.spare = write_archive(folder / "spare", 6, seed=9)
        self._driver = driver
        self.log = driver.log
        for seed, name in enumerate(("tiny", "other")):
            write_tiny_bundle(self.home / "models", name, seed=seed)
        names = sorted(path.name for path in self.files["images_dir"].iterdir())
        self.good = {name: (self.files["images_dir"] / name).read_bytes() for name in names}

    @property
    def environment(self) -> dict[str, str]:
        return {"CXR_HOME": str(self.home), "CXR_INDEX": str(self.home / "index"), "CXR_THREADS": "1"}

    def run(self, *words: str, point: KillPoint | None = None) -> int:
        return self._driver.run(list(words), self.environment, point)

    def output_of(self, *words: str) -> str:
        before = len(self.log.read_text()) if self.log.exists() else 0
        self.run(*words)
        return self.log.read_text()[before:]

    def ingest(self, *words: str, model: str = "tiny", spare: bool = False, point: KillPoint | None = None) -> int:
        files = self.spare if spare else self.files
        options = [text for name, path in files.items() for text in (f"--{name.replace('_', '-')}", str(path))]
        options += ["--dataset", "spare"] if spare else []
        return self.run("ingest", "--model", model, "--batch-size", "4", *options, *words, point=point)

    def retry(self, *, model: str = "tiny", point: KillPoint | None = None) -> int:
        return self.run("ingest", "retry", "--model", model, "--batch-size", "4", point=point)

    def damage_images(self) -> None:
        for name in list(self.good)[5:]:
            (self.files["images_dir"] / name).write_bytes(b"")

    def repair_images(self) -> None:
        for name, content in self.good.items():
            (self.files["images_dir"] / name).write_bytes(content)

    def run_json(self, *words: str) -> Any:
        return json.loads(CliRunner().invoke(cxr.main.app, [*words, "--json"], env=self.environment).stdout)

    def is_complete(self, model: str = "tiny") -> bool:
        """Whether the collection is complete; checks that models, status, doctor and use agree."""
        (row,) = [each for each in self.run_json("models")["models"] if each["key"] == model]
        (status,) = [each for each in self.run_json("ingest", "status")["collections"] if each["model"] == model]
        (diagnosis,) = [each for each in self.run_json("doctor")["collections"] if each["model"] == model]
        (finding,) = [each for each in diagnosis["findings"] if each["check"] == "complete"]
        answers = {row["complete"], status["complete"], finding["level"] == "ok"}
        assert len(answers) == 1, (row, status, finding)
        if not row["complete"]:
            assert status["incomplete"] == finding["message"]
        if not row["active"]:
            switched = CliRunner().invoke(cxr.main.app, ["use", model], env=self.environment).exception is None
            assert switched == row["complete"]
            CliRunner().invoke(cxr.main.app, ["use", "--back"], env=self.environment)
        return bool(row["complete"])

    def is_healthy(self) -> bool:
        return bool(self.run_json("doctor")["healthy"])

    def meta(self, model: str = "tiny") -> Any:
        return EdgeIndex(self.home / "index").collections()[f"cxr_{model}"]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    with start_driver(tmp_path_factory.mktemp("driver") / "log", slow_ms=0) as driver:
        yield driver


@pytest.fixture
def workspace(tmp_path: Path, driver: Driver) -> Workspace:
    return Workspace(tmp_path, driver)


def test_a_retry_does_not_complete_a_killed_ingest(workspace):
    workspace.damage_images()
    assert workspace.ingest(point=ALL_INDEXED) == KILLED
    workspace.repair_images()
    assert workspace.retry() == 0
    assert not workspace.is_complete()
    assert "the ingest of indiana was interrupted" in workspace.output_of("ingest", "retry", "--model", "tiny")
    assert workspace.ingest() == 0
    assert workspace.is_complete() and workspace.is_healthy()


def test_an_ingest_completes_a_killed_retry(workspace):
    workspace.damage_images()
    assert workspace.ingest() == 3
    workspace.repair_images()
    assert workspace.retry(point=HALFWAY) == KILLED
    assert not workspace.is_complete()
    assert workspace.ingest() == 0
    assert workspace.is_complete() and workspace.is_healthy()
    (status,) = workspace.run_json("ingest", "status")["collections"]
    assert [(run["part"], run["state"]) for run in status["runs"]] == [("1/1", "complete")]


def test_a_retry_killed_after_its_last_file_is_completed_by_a_retry_with_an_empty_quarantine(workspace):
    workspace.damage_images()
    assert workspace.ingest() == 3
    workspace.repair_images()
    assert workspace.retry(point=ALL_INDEXED) == KILLED
    assert not workspace.is_complete()
    assert workspace.run_json("ingest", "status")["collections"][0]["quarantined"] == []
    images = len(workspace.good)
    assert f"complete now: {images} images of indiana" in workspace.output_of("ingest", "retry", "--model", "tiny")
    assert workspace.is_complete() and workspace.is_healthy()
    assert workspace.meta().counts == {"indiana": images}


def test_an_ingest_of_another_dataset_completes_a_killed_retry_but_not_a_killed_ingest(workspace):
    workspace.damage_images()
    assert workspace.ingest() == 3
    workspace.repair_images()
    assert workspace.retry(point=HALFWAY) == KILLED
    assert workspace.ingest(spare=True) == 0
    assert workspace.is_complete()
    (workspace.files["images_dir"] / next(iter(workspace.good))).write_bytes(
        (workspace.files["images_dir"] / list(workspace.good)[1]).read_bytes()
    )
    assert workspace.ingest("--rehash", point=KillPoint(f"{EDGE}.upsert", "after", 1)) == KILLED
    shutil.copy(
        next(iter(workspace.files["images_dir"].iterdir())), next(iter(workspace.spare["images_dir"].iterdir()))
    )
    assert workspace.ingest("--rehash", spare=True) == 0
    assert not workspace.is_complete()
    assert workspace.ingest() == 0
    assert workspace.is_complete()


def test_a_killed_command_of_one_model_does_not_affect_another_model(workspace):
    workspace.damage_images()
    assert workspace.ingest() == workspace.ingest(model="other") == 3
    workspace.repair_images()
    assert workspace.retry(point=HALFWAY) == KILLED
    assert workspace.retry(model="other") == 0
    assert workspace.is_complete("other") and not workspace.is_complete("tiny")
    assert workspace.retry() == 0
    assert workspace.is_complete("tiny") and workspace.is_healthy()


@pytest.mark.parametrize(
    "point",
    [
        KillPoint("retrieval.index.edge.index:remove_folder"),
        KillPoint("retrieval.index.edge.index:EdgeIndex.drop", "after"),
        KillPoint("retrieval.index.edge.index:EdgeIndex.create", "after"),
        KillPoint("ingest.ledger:Ledger.clear"),
        HALFWAY,
    ],
    ids=lambda point: f"{point.when} {point.target.split('.')[-1]}",
)
def test_a_killed_rebuild_is_completed_by_a_rebuild_but_not_by_a_retry(workspace, point):
    workspace.damage_images()
    assert workspace.ingest() == 3
    assert workspace.ingest("--recreate", point=point) == KILLED
    workspace.repair_images()
    assert workspace.retry() in (0, 1)
    if "cxr_tiny" in EdgeIndex(workspace.home / "index").collections() and workspace.meta().pending:
        assert not workspace.is_complete()
    assert workspace.ingest("--recreate") == 0
    assert workspace.is_complete() and workspace.is_healthy()
    assert workspace.run_json("models")["models"] and EdgeIndex(workspace.home / "index").active() == "cxr_tiny"


def test_a_retry_into_a_dropped_collection_does_not_complete_it(workspace):
    workspace.damage_images()
    assert workspace.ingest() == 3
    assert workspace.run("drop", "tiny", "--yes", "--force") == 0
    workspace.repair_images()
    assert workspace.retry() == 0
    assert not workspace.is_complete()
    assert workspace.ingest() == 0
    assert workspace.is_complete() and workspace.is_healthy()


@pytest.mark.parametrize("call", [1, 2])
def test_repeating_a_killed_drop_removes_all_reports(workspace, call):
    assert workspace.ingest() == workspace.ingest(model="other") == 0
    points = {1: KillPoint("shutil:rmtree"), 2: KillPoint("retrieval.index.edge.index:EdgeIndex.drop", "after")}
    assert workspace.run("drop", "other", "--yes", point=points[call]) == KILLED
    drafts = [path.name for path in (workspace.home / "index").iterdir() if path.suffix == ".draft"]
    assert len(drafts) == (call == 1)
    assert workspace.is_healthy() == (call == 2)
    assert "no collection cxr_other" in workspace.output_of("drop", "other", "--yes")
    assert [path.name for path in (workspace.home / "index").iterdir() if "other" in path.name] == ["cxr_other.lock"]
    assert workspace.is_healthy()


def test_only_a_push_completes_a_killed_push(workspace, tmp_path):
    assert workspace.ingest() == 0
    to = ["push", "tiny", "--to", str(tmp_path / "copy")]
    assert workspace.run(*to, point=KillPoint(f"{EDGE}.optimize")) == KILLED
    copy = EdgeIndex(tmp_path / "copy")
    assert copy.collections()["cxr_tiny"].pending == ("push",)
    assert "cxr push" in workspace.output_of("ingest", "retry", "--model", "tiny", "--index", str(tmp_path / "copy"))
    assert not copy.collections()["cxr_tiny"].complete
    assert workspace.run(*to) == 0
    assert copy.collections()["cxr_tiny"].complete and copy.active() == "cxr_tiny"


def test_a_push_does_not_complete_a_collection_with_a_killed_ingest(workspace, tmp_path):
    assert workspace.ingest() == 0
    there = ["--index", str(tmp_path / "copy")]
    assert workspace.ingest(*there, spare=True, point=KillPoint(f"{EDGE}.optimize")) == KILLED
    assert workspace.run("push", "tiny", "--to", str(tmp_path / "copy")) == 0
    copy = EdgeIndex(tmp_path / "copy")
    assert (copy.collections()["cxr_tiny"].complete, copy.collections()["cxr_tiny"].pending) == (
        False,
        ("ingest:spare",),
    )
    assert workspace.ingest(*there, spare=True) == 0
    assert copy.collections()["cxr_tiny"].complete
    copied = copy.collections()["cxr_tiny"].counts
    assert copied == {"indiana": len(workspace.good), "spare": len(list(workspace.spare["images_dir"].iterdir()))}


@pytest.mark.parametrize(
    "point", [KillPoint(f"{EDGE}.upsert", "after"), KillPoint(f"{EDGE}.optimize"), KillPoint(f"{EDGE}.record")]
)
def test_a_restore_completes_a_killed_restore(workspace, tmp_path, point):
    assert workspace.ingest() == 0
    file = str(tmp_path / "kept.zip")
    assert workspace.run("snapshot", "create", "tiny", file) == 0
    restore = ["snapshot", "restore", file, "--index", str(tmp_path / "copy")]
    assert workspace.run(*restore, point=point) == KILLED
    copy = EdgeIndex(tmp_path / "copy")
    assert not copy.collections()["cxr_tiny"].complete
    assert workspace.run(*restore) == 0
    assert copy.collections()["cxr_tiny"].complete
    assert copy.collections()["cxr_tiny"].counts == {"indiana": len(workspace.good)}
    assert workspace.run(*restore) == 1, "only --recreate replaces a complete collection"


@pytest.mark.parametrize("killed", ["retry", "ingest"])
def test_an_incomplete_collection_of_an_earlier_version_is_completed_by_the_killed_command(workspace, killed):
    workspace.damage_images()
    assert workspace.ingest() == 3
    workspace.repair_images()
    if killed == "retry":
        assert workspace.retry(point=HALFWAY) == KILLED
    else:
        assert workspace.ingest(point=HALFWAY) == KILLED
    path = workspace.home / "index" / "cxr_tiny" / META
    document = json.loads(path.read_text())
    assert document.pop("pending") is not None
    path.write_text(json.dumps(document))
    assert not workspace.is_complete()
    assert workspace.retry() == 0
    assert workspace.is_complete() == (killed == "retry")
    assert workspace.ingest() == 0
    assert workspace.is_complete() and workspace.is_healthy()


def test_finish_marks_a_collection_as_complete(workspace):
    assert workspace.ingest(point=HALFWAY) == KILLED
    assert not workspace.is_complete()
    assert workspace.run("ingest", "finish", "--model", "tiny") == 0
    assert workspace.is_complete()
    assert workspace.ingest(spare=True) == 0
    assert workspace.is_complete()
