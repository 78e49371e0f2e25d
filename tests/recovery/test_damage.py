"""Damaged files, a full disk, a read-only disk: other models still work, and each message says what to do."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

import cxr.main
from ingest.ledger import ledger_path
from retrieval.catalog import Catalog
from retrieval.settings import RetrievalSettings
from tests.conftest import copy_home
from tests.recovery.kill_driver import start_driver


def run(*words: str, answer: str | None = None) -> tuple[int, str]:
    """Exit code and output of a command, as a process would print it."""
    result = CliRunner().invoke(cxr.main.app, list(words), input=answer)
    error = result.exception
    if error is not None and not isinstance(error, SystemExit):
        return 1, f"{result.output}{getattr(error, 'code', type(error).__name__)}: {error}"
    return result.exit_code, result.output


def options(home: Path) -> list[str]:
    archive = home / "archive"
    names = {"reports-csv": "reports.csv", "projections-csv": "projections.csv", "images-dir": "images"}
    return [word for option, name in names.items() for word in (f"--{option}", str(archive / name))]


_DAMAGE = {
    "empty record": lambda folder: (folder / "collection.json").write_bytes(b""),
    "record of another format": lambda folder: (folder / "collection.json").write_text("[]"),
    "no record": lambda folder: (folder / "collection.json").unlink(),
    "no shard": lambda folder: shutil.rmtree(folder / "shard"),
}


@pytest.mark.parametrize("damage", _DAMAGE.values(), ids=_DAMAGE)
def test_a_damaged_collection_affects_only_its_model(tiny_home, damage):
    damage(tiny_home / "index" / "cxr_tiny-b")
    with Catalog(RetrievalSettings()) as catalog:
        shown = {status.key: status for status in catalog.models()}
        assert shown["tiny-b"].damaged and not shown["tiny-b"].is_searchable
        assert shown["tiny-a"].damaged is None and shown["tiny-a"].is_searchable and shown["tiny-a"].active
        assert str(tiny_home) not in shown["tiny-b"].damaged
    code, printed = run("models")
    assert code == 0 and "cxr_tiny-b" in printed and "is damaged" in printed
    assert run("search", "--text", "heart", "-k", "1")[0] == 0
    assert run("use", "tiny-a")[0] == 0
    code, printed = run("doctor", "--json")
    assert code == 3
    problems = {
        each["model"]: [one["message"] for one in each["findings"] if one["level"] == "problem"]
        for each in json.loads(printed)["collections"]
    }
    assert problems["tiny-a"] == [] and len(problems["tiny-b"]) == 1
    assert run("use", "tiny-b")[1].startswith("collection_damaged")
    assert run("ingest", "--model", "tiny-b", *options(tiny_home))[1].count("collection_damaged") == 1
    # The message names both of these commands.
    assert run("ingest", "--model", "tiny-b", "--recreate", *options(tiny_home))[0] == 0
    assert run("use", "tiny-b")[0] == 0
    damage(tiny_home / "index" / "cxr_tiny-b")
    assert run("drop", "tiny-b", "--force", "--yes")[0] == 0
    assert not (tiny_home / "index" / "cxr_tiny-b").exists()
    assert run("use", "tiny-a")[0] == 0


@pytest.mark.parametrize("content", ["", "{", '["tiny-a"]'])
def test_a_damaged_alias_file_is_replaced_by_the_command_that_the_message_names(tiny_home, content):
    (tiny_home / "index" / "aliases.json").write_text(content)
    code, printed = run("search", "--text", "heart")
    assert code == 1 and "cxr use MODEL" in printed
    assert run("models")[0] == 0
    assert run("search", "--text", "heart", "--model", "tiny-b", "-k", "1")[0] == 0
    assert run("ingest", "--model", "tiny-a", *options(tiny_home))[0] == 0
    assert "cxr use MODEL" in run("drop", "tiny-b", "--yes")[1]
    assert any(
        "cxr use MODEL" in each["message"] for each in json.loads(run("doctor", "--json")[1])["home"]["findings"]
    )
    assert run("use", "tiny-b")[0] == 0
    assert run("search", "--text", "heart", "-k", "1")[0] == 0


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + b"\1" * 5000])
def test_a_damaged_ledger_affects_only_its_model(tiny_home, content):
    for model in ("tiny-a", "tiny-b"):
        assert run("ingest", "--model", model, *options(tiny_home))[0] == 0
    path = ledger_path(tiny_home, str(tiny_home / "index"), "cxr_tiny-b")
    path.write_bytes(content)
    code, printed = run("ingest", "status", "--json")
    assert code == 0
    damaged = {each["model"]: bool(each["damaged_ledger"]) for each in json.loads(printed)["collections"]}
    assert damaged == {"tiny-a": False, "tiny-b": True}
    code, printed = run("doctor", "--json")
    assert code == 3
    wrong = {each["model"] for each in json.loads(printed)["collections"] if not each["healthy"]}
    assert wrong == {"tiny-b"}
    assert "remove it" in printed
    path.unlink()
    assert run("ingest", "--model", "tiny-b", *options(tiny_home))[0] == 0
    assert run("doctor")[0] == 0


_MANIFESTS = {"empty": b"", "cut off": b'{"format": 1, "name": "tin', "of another format": b'{"format": 1}'}


@pytest.mark.parametrize("content", _MANIFESTS.values(), ids=_MANIFESTS)
def test_a_damaged_bundle_affects_only_its_model(tiny_home, content):
    path = tiny_home / "models" / "tiny-b" / "manifest.json"
    path.write_bytes(content)
    assert run("models")[0] == 0
    assert run("search", "--text", "heart", "-k", "1")[0] == 0
    code, printed = run("doctor", "--json")
    assert code == 3
    assert {each["model"] for each in json.loads(printed)["collections"] if not each["healthy"]} == {"tiny-b"}
    path.unlink()
    path.mkdir()  # a folder where a file should be
    assert run("models")[0] == 0 and run("doctor")[0] == 3


def test_damaged_files_that_belong_to_no_collection_are_reported(tiny_home):
    shutil.copytree(tiny_home / "models" / "tiny-a", tiny_home / "models" / "spare")
    (tiny_home / "models" / "spare" / "manifest.json").write_bytes(b"")
    (tiny_home / "presets").mkdir()
    (tiny_home / "presets" / "mine.json").write_text("[1")
    (tiny_home / "experiments.sqlite").write_bytes(b"no database" * 100)
    code, printed = run("doctor", "--json")
    found = {each["check"]: each for each in json.loads(printed)["home"]["findings"]}
    assert code == 3
    assert "spare" in found["other models"]["message"] and found["other models"]["level"] == "problem"
    assert "mine.json" in found["other files"]["message"] and "experiments.sqlite" in found["other files"]["message"]
    assert run("search", "--text", "heart", "-k", "1")[0] == 0


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("keys.json", b"", "`cxr keys remove-all`"),
        ("keys.json", b"[1", "`cxr keys remove-all`"),
        ("salt", b"short", "holds 5 bytes"),
    ],
)
def test_damaged_secrets_are_reported(tiny_home, name, content, says):
    (tiny_home / name).write_bytes(content)
    code, printed = run("doctor", "--json")
    found = {each["check"]: each for each in json.loads(printed)["home"]["findings"]}
    assert code == 3 and says in found["other files"]["message"]


def test_a_folder_in_place_of_a_file_is_reported_with_a_remedy(tiny_home):
    alias, lock = tiny_home / "index" / "aliases.json", tiny_home / "index" / "cxr_tiny-a.lock"
    for path in (alias, lock):
        path.unlink(missing_ok=True)
        path.mkdir()
    assert "remove that folder, then `cxr use MODEL`" in run("search", "--text", "heart")[1]
    code, printed = run("search", "--text", "heart", "--model", "tiny-a")
    assert code == 1 and "cxr_tiny-a.lock, the lock file of a collection, is a folder" in " ".join(printed.split())
    alias.rmdir()
    lock.rmdir()
    assert run("use", "tiny-a")[0] == 0
    assert run("search", "--text", "heart")[0] == 0


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., tuple[int, str]]]:
    """Runs a command in a new process on a home; gives its exit code and output."""
    log = tmp_path_factory.mktemp("driver") / "log"
    log.touch()

    def command(home: Path, *words: str) -> tuple[int, str]:
        before = len(log.read_text())
        code = driver.run(list(words), {"CXR_HOME": str(home), "CXR_THREADS": "1", "NO_COLOR": "1"})
        return code, log.read_text()[before:]

    with start_driver(log, slow_ms=0, modules=("cxr.search", "cxr.keys")) as driver:
        yield command


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A new disk of 600 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600m", "cxr-test", str(folder)]
    if not sys.platform.startswith("linux") or os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:
        pytest.skip("mounting a file system needs Linux and root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


def fill(disk: Path, *, leave_bytes: int) -> Path:
    path = disk / "filler"
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(disk).free - leave_bytes)
    return path


@pytest.mark.timeout(300)
def test_a_full_disk_is_reported_and_the_command_completes_with_more_space(disk, tiny_template, command):
    home = disk / "home"
    shutil.copytree(tiny_template / "models", home / "models")
    ingest = ("ingest", "--model", "tiny-a", *options(tiny_template))
    filler = fill(disk, leave_bytes=100 << 20)
    code, printed = command(home, *ingest)
    assert code == 1
    assert re.search(r"\[disk_full\]: the disk of .* has 105 MB free, .* needs 484 MB", printed)
    filler.unlink()
    assert command(home, *ingest)[0] == 0
    filler = fill(disk, leave_bytes=0)
    for words in (
        (*ingest, "--recreate"),
        ("search", "--text", "heart"),
        ("snapshot", "create", "tiny-a", str(disk / "there.zip")),
        ("keys", "create", "someone", "--scope", "read"),
    ):
        code, printed = command(home, *words)
        assert code in (0, 1) and "Traceback" not in printed, (words, printed)
        assert code == 0 or "disk_full" in printed, (words, printed)
    assert not [path for path in disk.iterdir() if path.suffix == ".draft"]
    filler.unlink()
    assert command(home, *ingest, "--recreate")[0] == 0
    assert command(home, "doctor")[0] == 0


@pytest.mark.timeout(300)
def test_a_read_only_home_is_reported_by_every_command_that_writes(disk, tiny_template, command):
    home = copy_home(tiny_template, disk / "home")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    refused = (
        ("search", "--text", "heart"),
        ("ingest", "--model", "tiny-a", *options(tiny_template)),
        ("use", "tiny-b"),
        ("drop", "tiny-b", "--yes"),
        ("snapshot", "create", "tiny-a", str(disk / "there.zip")),
        ("keys", "create", "someone", "--scope", "read"),
    )
    for words in refused:
        code, printed = command(home, *words)
        assert code == 1 and "Traceback" not in printed, (words, printed)
        assert "Read-only file system" in printed and str(disk) in printed, (words, printed)
    assert command(home, "models")[0] == 0
    assert command(home, "ingest", "status")[0] == 0
    code, printed = command(home, "doctor")
    assert code == 3 and "for writing, also to search" in printed
