"""The store of experiments: durability, concurrent writers, and rules of experiments and feedback."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from service.experiments.entities import Experiment, Exposure, Shadow, ShownHit
from service.experiments.experiment_errors import (
    ExperimentExists,
    ExperimentRunning,
    ExperimentStopped,
    ExperimentsUnavailable,
    NotShown,
    UnknownExperiment,
    UnknownSearch,
)
from service.experiments.store import FILE_NAME, ExperimentStore

HITS = tuple(ShownHit("d", f"s{n}", f"i{n}", "ab"[n % 2]) for n in range(4))  # type: ignore[arg-type]
WRITERS, WRITES = 4, 40


@pytest.fixture
def store(tmp_path: Path) -> ExperimentStore:
    return ExperimentStore(tmp_path)


def experiment(name: str = "e", kind: str = "interleave") -> Experiment:
    return Experiment(name, kind, "m-a", "m-b", 50.0, b"salt" * 8, time.time())  # type: ignore[arg-type]


def expose(store: ExperimentStore, search_id: str = "one", session: str = "s", name: str | None = "e") -> None:
    store.add_exposures([Exposure(search_id, session, HITS, name)])


def positive(store: ExperimentStore) -> list[str]:
    return sorted(image for outcome in store.outcomes("e") for _, image in outcome.positive)


# Run as a process: writes feedback until it is killed, and prints the number of each stored one.
ENDLESS = """
import sys
from pathlib import Path
from service.experiments.entities import Exposure, ShownHit
from service.experiments.store import ExperimentStore
store = ExperimentStore(Path(sys.argv[1]))
for n in range(100_000):
    hit = ShownHit("d", "s", f"i{n}", "a")
    store.add_exposures([Exposure(f"search-{n}", "s", (hit,), "e")])
    store.add_feedback(f"search-{n}", hit, "click", "s")
    print(n, flush=True)
"""

# Run in several processes, each with several threads.
MANY = """
import sys, threading
from pathlib import Path
from service.experiments.entities import Exposure, ShownHit
from service.experiments.store import ExperimentStore
writer, threads, writes = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
store = ExperimentStore(Path(sys.argv[1]))
hit = ShownHit("d", "s", "i", "a")
def write(thread):
    for n in range(writes):
        name = f"{writer}-{thread}-{n}"
        store.add_exposures([Exposure(name, name, (hit,), "e")])
        store.add_feedback(name, hit, "click", name)
workers = [threading.Thread(target=write, args=(n,)) for n in range(threads)]
[worker.start() for worker in workers]
[worker.join() for worker in workers]
"""


def test_accepted_feedback_survives_kill_9(tmp_path: Path, store: ExperimentStore) -> None:
    with subprocess.Popen([sys.executable, "-c", ENDLESS, str(tmp_path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout
        said = [int(writer.stdout.readline()) for _ in range(25)]
        writer.kill()  # SIGKILL
        said += [int(line) for line in writer.stdout if line.endswith("\n")]
    assert said == list(range(len(said)))
    found = positive(store)
    assert {f"i{n}" for n in said} <= set(found)
    assert len(found) <= len(said) + 1
    with sqlite3.connect(store.path) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()
    expose(store, "after")
    store.close()


def test_several_processes_with_several_threads_lose_nothing(tmp_path: Path, store: ExperimentStore) -> None:
    arguments = [str(WRITES)]
    writers = [
        subprocess.Popen([sys.executable, "-c", MANY, str(tmp_path), str(n), str(2), *arguments])
        for n in range(WRITERS)
    ]
    assert [writer.wait(timeout=120) for writer in writers] == [0] * WRITERS
    outcomes = store.outcomes("e")
    assert len({outcome.exposure.search_id for outcome in outcomes}) == WRITERS * 2 * WRITES
    assert all(outcome.positive == {("d", "i")} for outcome in outcomes)
    store.close()


def test_the_same_feedback_from_several_threads_is_stored_once(store: ExperimentStore) -> None:
    expose(store)
    threads = [threading.Thread(target=store.add_feedback, args=("one", HITS[0], "click", "same")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    database = sqlite3.connect(store.path)
    assert database.execute("SELECT count(*) FROM feedback").fetchone() == (1,)
    database.close()
    store.close()


def test_the_file_is_private_and_feedback_is_synced_to_disk(store: ExperimentStore) -> None:
    expose(store)
    store.add_feedback("one", HITS[0], "click", "s")
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    with store._database.use() as database:
        assert database.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert database.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL
    store.close()


def test_one_experiment_runs_at_a_time_and_names_are_used_once(store: ExperimentStore) -> None:
    store.start(experiment("first"))
    with pytest.raises(ExperimentRunning, match="first"):
        store.start(experiment("second"))
    assert store.running() == store.experiment("first")
    store.stop("first", {"winner": None})
    assert store.running() is None
    assert store.experiment("first").result == {"winner": None}
    with pytest.raises(ExperimentStopped):
        store.stop("first", {})
    with pytest.raises(ExperimentExists):
        store.start(experiment("first"))
    with pytest.raises(UnknownExperiment):
        store.stop("third", {})
    store.start(experiment("second"))
    assert [each.name for each in store.experiments()] == ["second", "first"]
    store.close()


def test_the_last_rating_of_a_session_replaces_its_clicks(store: ExperimentStore) -> None:
    expose(store)
    for kind in ("click", "not_relevant"):
        store.add_feedback("one", HITS[0], kind, "s")  # type: ignore[arg-type]
    for kind in ("not_relevant", "relevant", "click"):
        store.add_feedback("one", HITS[1], kind, "s")  # type: ignore[arg-type]
    for kind in ("relevant", "not_relevant", "relevant"):
        store.add_feedback("one", HITS[2], kind, "s")  # type: ignore[arg-type]
    store.add_feedback("one", HITS[3], "click", "s")
    assert positive(store) == ["i1", "i2", "i3"]
    store.close()


def test_feedback_must_refer_to_a_shown_image(store: ExperimentStore) -> None:
    expose(store)
    assert store.find_shown("one", "s1", "i1", None)[1] == HITS[1]
    assert store.find_shown("one", "s1", "i1", "d")[1] == HITS[1]
    for study, image, dataset in (("s1", "i2", None), ("s9", "i1", None), ("s1", "i1", "other")):
        with pytest.raises(NotShown):
            store.find_shown("one", study, image, dataset)
    with pytest.raises(UnknownSearch):
        store.find_shown("two", "s1", "i1", None)
    store.close()


def test_pruning_deletes_old_searches_except_those_of_a_running_experiment(
    store: ExperimentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.start(experiment("e"))
    now = time.time()
    with monkeypatch.context() as past:
        past.setattr("service.experiments.store.time.time", lambda: now - 10 * 86400)
        expose(store, "old", name=None)
        expose(store, "counted", name="e")
        for search_id in ("old", "counted"):
            store.add_feedback(search_id, HITS[0], "click", "s")
            store.add_shadow(Shadow(search_id, 4, 0.5, 1.0, 2.0))
    expose(store, "new", name=None)
    assert store.prune(11) == 0
    assert store.prune(9) == 1
    with pytest.raises(UnknownSearch):
        store.exposure("old")
    assert store.exposure("new")
    assert positive(store) == ["i0"]
    store.stop("e", {"verdict": "x"})
    assert store.prune(9) == 1
    assert store.outcomes("e") == []
    assert store.experiment("e").result == {"verdict": "x"}
    database = sqlite3.connect(store.path)
    counts = [database.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("feedback", "shadows")]
    database.close()
    assert counts == [0, 0]
    store.close()


def test_damaged_files_and_files_of_another_version_are_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"no database" * 1000)
    with pytest.raises(ExperimentsUnavailable, match="not a database"):
        ExperimentStore(tmp_path).experiments()
    (tmp_path / FILE_NAME).unlink()
    database = sqlite3.connect(tmp_path / FILE_NAME)
    database.execute("PRAGMA user_version=9")
    database.close()
    with pytest.raises(ExperimentsUnavailable, match="format 9"):
        ExperimentStore(tmp_path).experiments()


def test_reading_creates_no_file(store: ExperimentStore) -> None:
    assert store.running() is None
    with pytest.raises(UnknownExperiment):
        store.experiment("e")
    assert not store.path.exists()
