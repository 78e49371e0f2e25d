"""Locked, damaged or missing files beside the index break only what needs them."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from retrieval.catalog import Catalog
from service.experiments import runtime
from service.experiments.store import FILE_NAME, ExperimentStore
from service.settings import ServiceSettings
from tests.service.conftest import Client, assert_problem, connect

Fault = Callable[[Path], AbstractContextManager[None]]
# Locks today's file of the audit log, as a backup program does.
HOLD = """
import sys, fcntl
files = [open(path, "ab") for path in sys.argv[1:]]
for file in files: fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def locked(statement: str, *, wal: bool) -> Fault:
    @contextmanager
    def lock(path: Path) -> Iterator[None]:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            if not wal:
                other.execute("PRAGMA journal_mode=DELETE")
            other.execute(statement)
            yield
            other.execute("ROLLBACK")

    return lock


@contextmanager
def damaged(path: Path) -> Iterator[None]:
    path.write_bytes(b"no database" * 1000)
    yield
    path.unlink()


@contextmanager
def a_folder(path: Path) -> Iterator[None]:
    path.mkdir()
    yield
    path.rmdir()


@contextmanager
def nowhere(path: Path) -> Iterator[None]:
    """The file is on a disk that is not mounted: a link to a missing file."""
    path.symlink_to(path.parent / "no such disk" / "experiments.sqlite")
    yield
    path.unlink()


FAULTS = {
    "exclusive": locked("BEGIN EXCLUSIVE", wal=True),
    "immediate": locked("BEGIN IMMEDIATE", wal=True),
    "exclusive, of another mode": locked("BEGIN EXCLUSIVE", wal=False),
    "damaged": damaged,
    "a folder": a_folder,
    "nowhere": nowhere,
}


@pytest.fixture
def fault(request: pytest.FixtureRequest) -> Fault:
    return FAULTS[request.param]


def search(client: Client) -> str | None:
    answer = client.post("/v1/search/text", json={"text": "heart", "k": 1})
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["hits"]) == 1
    search_id: str | None = answer.json()["search_id"]
    return search_id


@pytest.mark.parametrize("fault", list(FAULTS), indirect=True)
def test_searches_are_answered_without_an_id_while_the_file_cannot_be_written(
    catalog: Catalog, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "_PAUSE_S", 0.3)
    path = catalog.settings.home / FILE_NAME
    with connect(catalog, ServiceSettings(rate_per_minute=0, request_timeout_s=20)) as client:
        with fault(path):
            assert [search(client) for _ in range(3)] == [None] * 3
            feedback = {"search_id": "x", "study_id": "s", "image_id": "i", "kind": "click"}
            answer = client.post("/v1/feedback", json=feedback)
            assert answer.status_code in (404, 503)  # a file that another process writes can still be read
            if answer.status_code == 503:
                assert_problem(answer, 503, "experiments_unavailable")
                assert int(answer.headers["retry-after"]) >= 1
        time.sleep(0.4)
        assert search(client) is not None


def test_only_one_of_many_searches_waits_for_a_locked_file(catalog: Catalog) -> None:
    path = catalog.settings.home / FILE_NAME
    with connect(catalog) as client:
        assert search(client) is not None
        with FAULTS["exclusive"](path):
            assert search(client) is None
            began = time.monotonic()
            assert [search(client) for _ in range(40)] == [None] * 40
            assert time.monotonic() - began < 40 * runtime._WAIT_S / 2


def test_feedback_is_refused_soon_while_the_file_is_locked_and_accepted_later(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "_PAUSE_S", 0.3)
    with connect(catalog) as client:
        shown = client.post("/v1/search/text", json={"text": "heart", "k": 1}).json()
        hit = shown["hits"][0]
        feedback = {name: hit[name] for name in ("study_id", "image_id")} | {
            "search_id": shown["search_id"],
            "kind": "relevant",
        }
        with FAULTS["exclusive"](catalog.settings.home / FILE_NAME):
            for _ in range(2):
                answer = client.post("/v1/feedback", json=feedback)
                assert_problem(answer, 503, "experiments_unavailable")
                assert answer.headers["retry-after"] == "1"
                assert "locked" in answer.json()["detail"]
        time.sleep(0.4)
        assert client.post("/v1/feedback", json=feedback).status_code == 200


def test_the_command_line_reports_the_locked_file(tmp_path: Path) -> None:
    store = ExperimentStore(tmp_path)
    with closing(store), store._database.transaction():
        pass
    other = ExperimentStore(tmp_path, wait_s=0.1)
    with (
        closing(other),
        FAULTS["exclusive, of another mode"](store.path),
        pytest.raises(Exception, match=r"another program keeps it locked \(a backup\?\)"),
    ):
        other.experiments()


@contextmanager
def held_by_another_process(*paths: Path) -> Iterator[None]:
    command = [sys.executable, "-c", HOLD, *map(str, paths)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == b"held\n"
        yield
        holder.stdin.close()


def test_a_locked_audit_log_refuses_at_once_and_blocks_no_other_request(catalog: Catalog) -> None:
    with connect(catalog, ServiceSettings(rate_per_minute=0, request_timeout_s=20)) as client:
        assert search(client)
        logs = list((catalog.settings.home / "audit").iterdir())
        with held_by_another_process(*logs):
            for _ in range(2):
                answer = client.post("/v1/search/text", json={"text": "heart", "k": 1})
                assert_problem(answer, 503, "audit_unavailable")
                assert "locked" in answer.json()["detail"]
            assert client.get("/health/live").status_code == 200
            assert_problem(client.get("/health/ready"), 503, "not_ready")
        assert search(client)
        assert client.get("/health/ready").status_code == 200


def replace_by_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("not a folder")


def replace_images_by_folders(folder: Path) -> None:
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        path.unlink()
        path.mkdir()


@pytest.mark.parametrize(
    ("spoil", "status"), [(shutil.rmtree, 404), (replace_by_file, 404), (replace_images_by_folders, 503)]
)
def test_searches_work_while_thumbnails_cannot_be_read(
    catalog: Catalog, spoil: Callable[[Path], None], status: int
) -> None:
    with connect(catalog) as client:
        hit = client.post("/v1/search/text", json={"text": "heart", "k": 1}).json()["hits"][0]
        address = f"/v1/images/{hit['image_sha256']}/thumbnail"
        assert client.get(address).status_code == 200
        spoil(catalog.settings.media_dir)
        assert_problem(client.get(address), status, "not_found" if status == 404 else "media_unavailable")
        assert search(client)


@pytest.mark.parametrize("name", ["keys.json", "index/aliases.json"])
@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[]", b""])
def test_keys_and_aliases_damaged_at_run_time_are_problems(catalog: Catalog, name: str, content: bytes) -> None:
    with connect(catalog) as client:
        assert search(client)
        path = catalog.settings.home / name
        before = path.read_bytes() if path.exists() else None
        path.write_bytes(content)
        answer = client.post("/v1/search/text", json={"text": "heart", "k": 1})
        assert answer.json()["code"] in ("keys_damaged", "alias_damaged"), answer.text
        assert client.get("/health/live").status_code == 200
        if before is not None:
            path.write_bytes(before)
            assert search(client)
