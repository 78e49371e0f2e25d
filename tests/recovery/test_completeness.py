"""Which command completes a collection after another was killed; status, models, doctor and use agree on it."""

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
from tests.recovery.doomed import Driver, Moment, driving

KILLED = -signal.SIGKILL
EDGE = "retrieval.index.edge.collection:EdgeCollection"
HALFWAY = Moment(f"{EDGE}.upsert", "after", 2)
COUNTED = Moment(f"{EDGE}.facet")
"""Everything is indexed and in the ledger; that the collection is complete is not recorded."""


class Place:
    """A home, an archive with files that can be spoilt, and every command that says whether a collection is complete."""

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

    def run(self, *words: str, moment: Moment | None = None) -> int:
        return self._driver.run(list(words), self.environment, moment)

    def said(self, *words: str) -> str:
        before = len(self.log.read_text()) if self.log.exists() else 0
        self.run(*words)
        return self.log.read_text()[before:]

    def ingest(self, *words: str, model: str = "tiny", spare: bool = False, moment: Moment | None = None) -> int:
        files = self.spare if spare else self.files
        options = [text for name, path in files.items() for text in (f"--{name.replace('_', '-')}", str(path))]
        options += ["--dataset", "spare"] if spare else []
        return self.run("ingest", "--model", model, "--batch-size", "4", *options, *words, moment=moment)

    def retry(self, *, model: str = "tiny", moment: Moment | None = None) -> int:
        return self.run("ingest", "retry", "--model", model, "--batch-size", "4", moment=moment)

    def spoil(self) -> None:
        for name in list(self.good)[5:]:
            (self.files["images_dir"] / name).write_bytes(b"")

    def mend(self) -> None:
        for name, content in self.good.items():
            (self.files["images_dir"] / name).write_bytes(content)

    def asked(self, *words: str) -> Any:
        return json.loads(CliRunner().invoke(cxr.main.app, [*words, "--json"], env=self.environment).stdout)

    def is_complete(self, model: str = "tiny") -> bool:
        """What models, status and doctor say, which must be one thing; `use` is tried, too."""
        (row,) = [each for each in self.asked("models")["models"] if each["key"] == model]
        (status,) = [each for each in self.asked("ingest", "status")["collections"] if each["model"] == model]
        (diagnosis,) = [each for each in self.asked("doctor")["collections"] if each["model"] == model]
        (finding,) = [each for each in diagnosis["findings"] if each["check"] == "complete"]
        said = {row["complete"], status["complete"], finding["level"] == "ok"}
        assert len(said) == 1, (row, status, finding)
        if not row["complete"]:
            assert status["incomplete"] == finding["message"]
        if not row["active"]:
            switched = CliRunner().invoke(cxr.main.app, ["use", model], env=self.environment).exception is None
            assert switched == row["complete"]
            CliRunner().invoke(cxr.main.app, ["use", "--back"], env=self.environment)
        return bool(row["complete"])

    def is_healthy(self) -> bool:
        return bool(self.asked("doctor")["healthy"])

    def meta(self, model: str = "tiny") -> Any:
        return EdgeIndex(self.home / "index").collections()[f"cxr_{model}"]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    with driving(tmp_path_factory.mktemp("driver") / "log", slow_ms=0) as started:
        yield started


@pytest.fixture
def place(tmp_path: Path, driver: Driver) -> Place:
    return Place(tmp_path, driver)


def test_a_killed_ingest_is_not_completed_by_a_retry(place):
    place.spoil()
    assert place.ingest(moment=COUNTED) == KILLED
    place.mend()
    assert place.retry() == 0
    assert not place.is_complete()
    assert "the ingest of indiana was interrupted" in place.said("ingest", "retry", "--model", "tiny")
    assert place.ingest() == 0
    assert place.is_complete() and place.is_healthy()


def test_a_killed_retry_is_completed_by_an_ingest_too(place):
    place.spoil()
    assert place.ingest() == 3
    place.mend()
    assert place.retry(moment=HALFWAY) == KILLED
    assert not place.is_complete()
    assert place.ingest() == 0
    assert place.is_complete() and place.is_healthy()
    (status,) = place.asked("ingest", "status")["collections"]
    assert [(run["part"], run["state"]) for run in status["runs"]] == [("1/1", "complete")]


def test_a_retry_that_was_killed_after_its_last_file_is_completed_though_nothing_is_in_quarantine(place):
    place.spoil()
    assert place.ingest() == 3
    place.mend()
    assert place.retry(moment=COUNTED) == KILLED
    assert not place.is_complete()
    assert place.asked("ingest", "status")["collections"][0]["quarantined"] == []
    assert "complete now: indiana" in place.said("ingest", "retry", "--model", "tiny")
    assert place.is_complete() and place.is_healthy()
    assert place.meta().counts == {"indiana": len(place.good)}


def test_an_ingest_of_another_dataset_completes_a_killed_retry_and_no_killed_ingest(place):
    place.spoil()
    assert place.ingest() == 3
    place.mend()
    assert place.retry(moment=HALFWAY) == KILLED
    assert place.ingest(spare=True) == 0
    assert place.is_complete()
    (place.files["images_dir"] / next(iter(place.good))).write_bytes(
        (place.files["images_dir"] / list(place.good)[1]).read_bytes()
    )
    assert place.ingest("--rehash", moment=Moment(f"{EDGE}.upsert", "after", 1)) == KILLED
    shutil.copy(next(iter(place.files["images_dir"].iterdir())), next(iter(place.spare["images_dir"].iterdir())))
    assert place.ingest("--rehash", spare=True) == 0
    assert not place.is_complete()
    assert place.ingest() == 0
    assert place.is_complete()


def test_what_was_killed_with_one_model_does_not_touch_another(place):
    place.spoil()
    assert place.ingest() == place.ingest(model="other") == 3
    place.mend()
    assert place.retry(moment=HALFWAY) == KILLED
    assert place.retry(model="other") == 0
    assert place.is_complete("other") and not place.is_complete("tiny")
    assert place.retry() == 0
    assert place.is_complete("tiny") and place.is_healthy()


@pytest.mark.parametrize(
    "moment",
    [
        Moment("retrieval.index.edge.index:remove_folder"),
        Moment("retrieval.index.edge.index:EdgeIndex.drop", "after"),
        Moment("retrieval.index.edge.index:EdgeIndex.create", "after"),
        Moment("ingest.ledger:Ledger.clear"),
        HALFWAY,
    ],
    ids=lambda moment: f"{moment.when} {moment.target.split('.')[-1]}",
)
def test_a_killed_rebuild_is_completed_by_itself_and_by_no_retry(place, moment):
    place.spoil()
    assert place.ingest() == 3
    assert place.ingest("--recreate", moment=moment) == KILLED
    place.mend()
    assert place.retry() in (0, 1)
    if "cxr_tiny" in EdgeIndex(place.home / "index").collections() and place.meta().pending:
        assert not place.is_complete()
    assert place.ingest("--recreate") == 0
    assert place.is_complete() and place.is_healthy()
    assert place.asked("models")["models"] and EdgeIndex(place.home / "index").active() == "cxr_tiny"


def test_a_retry_into_a_collection_that_was_dropped_is_not_complete(place):
    place.spoil()
    assert place.ingest() == 3
    assert place.run("drop", "tiny", "--yes", "--force") == 0
    place.mend()
    assert place.retry() == 0
    assert not place.is_complete()
    assert place.ingest() == 0
    assert place.is_complete() and place.is_healthy()


@pytest.mark.parametrize("call", [1, 2])
def test_a_killed_drop_leaves_no_report_once_it_is_repeated(place, call):
    assert place.ingest() == place.ingest(model="other") == 0
    moments = {1: Moment("shutil:rmtree"), 2: Moment("retrieval.index.edge.index:EdgeIndex.drop", "after")}
    assert place.run("drop", "other", "--yes", moment=moments[call]) == KILLED
    left = [path.name for path in (place.home / "index").iterdir() if path.suffix == ".draft"]
    assert len(left) == (call == 1)
    assert place.is_healthy() == (call == 2)
    assert "no collection cxr_other" in place.said("drop", "other", "--yes")
    assert [path.name for path in (place.home / "index").iterdir() if "other" in path.name] == ["cxr_other.lock"]
    assert place.is_healthy()


def test_a_killed_push_is_completed_by_itself_alone(place, tmp_path):
    assert place.ingest() == 0
    to = ["push", "tiny", "--to", str(tmp_path / "copy")]
    assert place.run(*to, moment=Moment(f"{EDGE}.optimize")) == KILLED
    copy = EdgeIndex(tmp_path / "copy")
    assert copy.collections()["cxr_tiny"].pending == ("push",)
    assert "cxr push" in place.said("ingest", "retry", "--model", "tiny", "--index", str(tmp_path / "copy"))
    assert not copy.collections()["cxr_tiny"].complete
    assert place.run(*to) == 0
    assert copy.collections()["cxr_tiny"].complete and copy.active() == "cxr_tiny"


def test_a_push_into_a_collection_that_waits_for_an_ingest_does_not_complete_it(place, tmp_path):
    assert place.ingest() == 0
    there = ["--index", str(tmp_path / "copy")]
    assert place.ingest(*there, spare=True, moment=Moment(f"{EDGE}.optimize")) == KILLED
    assert place.run("push", "tiny", "--to", str(tmp_path / "copy")) == 0
    copy = EdgeIndex(tmp_path / "copy")
    assert (copy.collections()["cxr_tiny"].complete, copy.collections()["cxr_tiny"].pending) == (
        False,
        ("ingest:spare",),
    )
    assert place.ingest(*there, spare=True) == 0
    assert copy.collections()["cxr_tiny"].complete
    copied = copy.collections()["cxr_tiny"].counts
    assert copied == {"indiana": len(place.good), "spare": len(list(place.spare["images_dir"].iterdir()))}


@pytest.mark.parametrize(
    "moment", [Moment(f"{EDGE}.upsert", "after"), Moment(f"{EDGE}.optimize"), Moment(f"{EDGE}.record")]
)
def test_a_killed_restore_is_completed_by_itself(place, tmp_path, moment):
    assert place.ingest() == 0
    file = str(tmp_path / "kept.zip")
    assert place.run("snapshot", "create", "tiny", file) == 0
    restore = ["snapshot", "restore", file, "--index", str(tmp_path / "copy")]
    assert place.run(*restore, moment=moment) == KILLED
    copy = EdgeIndex(tmp_path / "copy")
    assert not copy.collections()["cxr_tiny"].complete
    assert place.run(*restore) == 0
    assert copy.collections()["cxr_tiny"].complete
    assert copy.collections()["cxr_tiny"].counts == {"indiana": len(place.good)}
    assert place.run(*restore) == 1, "a collection that is complete is replaced only with --recreate"


@pytest.mark.parametrize("killed", ["retry", "ingest"])
def test_a_collection_that_an_earlier_version_left_incomplete_is_completed_by_the_command_that_was_killed(
    place, killed
):
    place.spoil()
    assert place.ingest() == 3
    place.mend()
    if killed == "retry":
        assert place.retry(moment=HALFWAY) == KILLED
    else:
        assert place.ingest(moment=HALFWAY) == KILLED
    path = place.home / "index" / "cxr_tiny" / META
    document = json.loads(path.read_text())
    assert document.pop("pending") is not None
    path.write_text(json.dumps(document))
    assert not place.is_complete()
    assert place.retry() == 0
    assert place.is_complete() == (killed == "retry")
    assert place.ingest() == 0
    assert place.is_complete() and place.is_healthy()


def test_finish_takes_a_collection_as_it_is(place):
    assert place.ingest(moment=HALFWAY) == KILLED
    assert not place.is_complete()
    assert place.run("ingest", "finish", "--model", "tiny") == 0
    assert place.is_complete()
    assert place.ingest(spare=True) == 0
    assert place.is_complete()
