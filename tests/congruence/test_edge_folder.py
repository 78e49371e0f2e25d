"""The embedded engine: its folder, its lock, its alias file."""

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from retrieval.errors import (
    AliasDamaged,
    CollectionDamaged,
    CollectionExists,
    IndexFailure,
    IndexLocked,
    InvalidRequest,
)
from retrieval.index.edge.index import EdgeIndex
from retrieval.index.interface import has_no_active, readable_active
from retrieval.index.schema import ALIAS, DENSE_VECTORS
from tests.congruence.conftest import META, NAME

HOLD = """
import sys, time
from pathlib import Path
from retrieval.index.edge.index import EdgeIndex
index = EdgeIndex(Path(sys.argv[1]))
collection = index.open(sys.argv[2])
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path, points):
    index = EdgeIndex(tmp_path / "index")
    index.create(META, name=NAME).upsert(points)
    index.close()
    return tmp_path / "index"


def test_points_survive_closing(folder, points):
    index = EdgeIndex(folder)
    assert index.open(NAME).count() == len(points)
    index.close()


def test_a_second_process_gets_an_error_with_a_remedy_and_can_still_switch_the_active_model(folder):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), NAME], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "open\n"
        index = EdgeIndex(folder)
        with pytest.raises(IndexLocked, match="in use by another process"):
            index.open(NAME)
        with pytest.raises(IndexLocked):
            index.drop(NAME)
        index.activate(NAME)
        assert index.active() == NAME
        holder.communicate("")
    assert index.open(NAME).count()
    index.close()


def test_a_folder_without_its_record_is_damaged_and_can_be_dropped(folder, points):
    (folder / NAME / "collection.json").unlink()
    index = EdgeIndex(folder)
    assert index.collections() == {}
    assert index.damaged() == {NAME: "collection.json is missing"}
    with pytest.raises(CollectionDamaged, match="--recreate"):
        index.open(NAME)
    with pytest.raises(CollectionExists):
        index.create(META, name=NAME)
    index.drop(NAME)
    assert index.create(META, name=NAME).count() == 0
    index.close()


@pytest.mark.parametrize("name", ["../evil", "", ".hidden", "a/b"])
def test_a_name_cannot_lead_out_of_the_folder(folder, name):
    with pytest.raises(InvalidRequest):
        EdgeIndex(folder).open(name)


def test_an_alias_is_read_again_after_another_process_has_changed_it(folder):
    index, elsewhere, aliases = EdgeIndex(folder), EdgeIndex(folder), folder / "aliases.json"
    elsewhere.create(META, name="cxr_other")
    for name in (NAME, "cxr_other", NAME):
        elsewhere.activate(name)
        assert index.active() == name
        os.utime(aliases, (1, 1))  # old enough to be remembered
        assert (index.active(), index.active()) == (name, name)
    aliases.write_text("{")
    with pytest.raises(IndexFailure, match="cxr use"):
        index.active()
    aliases.unlink()
    assert index.active() is None
    elsewhere.close()


def test_two_changes_of_an_alias_within_one_clock_tick_are_seen(folder):
    index, aliases, now = EdgeIndex(folder), folder / "aliases.json", time.time_ns()
    for name in ("cxr_a", "cxr_b"):  # of one length, in one file, at one time: nothing but the content differs
        aliases.write_text(json.dumps({ALIAS: name}))
        os.utime(aliases, ns=(now, now))
        assert index.active() == name


_SPOILT = {
    "empty": b"",
    "cut off": b'{"model": "congr',
    "no JSON": b"\x00\xff\xfe",
    "another form": b'["cxr"]',
    "wrong types": b'{"model": 3, "cxr": {}, "bundle_id": [], "dim": "16", "created_at": null}',
    "nested": b"[" * 100_000,
}


@pytest.mark.parametrize("content", _SPOILT.values(), ids=_SPOILT)
def test_a_damaged_alias_file_is_named_and_replaced_by_use(folder, content):
    (folder / "aliases.json").write_bytes(content)
    index = EdgeIndex(folder)
    with pytest.raises(AliasDamaged, match="cxr use"):
        index.active()
    assert readable_active(index) is None and not has_no_active(index)
    index.activate(NAME)
    assert (index.active(), index.previous()) == (NAME, None)


@pytest.mark.parametrize("content", _SPOILT.values(), ids=_SPOILT)
def test_a_damaged_collection_is_reported_and_the_others_work(folder, content):
    elsewhere = EdgeIndex(folder)
    elsewhere.create(META, name="cxr_other")
    elsewhere.close()
    (folder / NAME / "collection.json").write_bytes(content)
    index = EdgeIndex(folder)
    assert list(index.collections()) == ["cxr_other"]
    assert list(index.damaged()) == [NAME]
    assert str(folder) not in index.damaged()[NAME]
    with pytest.raises(CollectionDamaged):
        index.open(NAME)
    index.drop(NAME)
    assert index.damaged() == {} and list(index.collections()) == ["cxr_other"]
    index.close()


def _make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


_FILES_GONE = {
    "a folder for the record": lambda folder: _make_folder(folder / "collection.json"),
    "no shard": lambda folder: shutil.rmtree(folder / "shard"),
    "a file for the collection": lambda folder: (shutil.rmtree(folder), folder.write_bytes(b"x")),
    "a dangling link": lambda folder: (shutil.rmtree(folder), folder.symlink_to("nowhere")),
}


@pytest.mark.parametrize("spoil", _FILES_GONE.values(), ids=_FILES_GONE)
def test_a_collection_with_other_files_is_damaged_and_can_be_dropped(folder, spoil):
    spoil(folder / NAME)
    index = EdgeIndex(folder)
    assert list(index.damaged()) == [NAME]
    with pytest.raises(CollectionDamaged):
        index.open(NAME)
    index.drop(NAME)
    assert [path.name for path in folder.iterdir() if path.suffix != ".lock"] == []
    index.close()


_SHARD_FILES = (
    "edge_config.json",
    "segment.json",
    "status.dat",
    "config.json",
    "tracker.dat",
    "page_0.dat",
    "chunk_0.mmap",
)
_HOW = {
    "empty": lambda path: os.truncate(path, 0),
    "noise": lambda path: path.write_bytes(random.Random(3).randbytes(min(path.stat().st_size, 4096))),
}


@pytest.mark.parametrize("name", _SHARD_FILES)
@pytest.mark.parametrize("how", _HOW.values(), ids=_HOW)
def test_a_damaged_shard_raises_a_retrieval_error_or_none(folder, name, how):
    for path in sorted((folder / NAME / "shard").rglob(name)):
        how(path)
    index = EdgeIndex(folder)
    with contextlib.suppress(IndexFailure):
        collection = index.open(NAME)
        collection.count()
        list(collection.scroll(limit=None, vectors=DENSE_VECTORS))
        collection.facet("dataset")
    index.drop(NAME)
    assert not (folder / NAME).exists()
    index.close()


def test_closing_waits_for_running_searches(folder):
    index = EdgeIndex(folder)
    collection = index.open(NAME)
    shard = collection._shard

    class Lent:
        refusals = 2

        def flush(self):
            shard.flush()

        def close(self):
            self.refusals -= 1
            if self.refusals >= 0:
                raise RuntimeError("Already borrowed")
            shard.close()

    collection._shard = Lent()
    index.close()
    again = EdgeIndex(folder)  # its lock was released
    assert again.open(NAME).count()
    again.close()
