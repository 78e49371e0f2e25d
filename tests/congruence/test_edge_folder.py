"""What only the embedded engine has: a folder, a lock, a file for the alias."""

import json
import os
import subprocess
import sys
import time

import pytest

from retrieval.errors import IndexFailure, IndexLocked, InvalidRequest, NoCollection
from retrieval.index.edge import EdgeIndex
from retrieval.index.schema import ALIAS
from tests.congruence.conftest import META, NAME

HOLD = """
import sys, time
from pathlib import Path
from retrieval.index.edge import EdgeIndex
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


def test_a_second_process_is_told_what_to_do_and_may_still_move_the_alias(folder):
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


def test_what_a_killed_create_left_is_no_collection_and_is_replaced(folder, points):
    (folder / NAME / "collection.json").unlink()
    index = EdgeIndex(folder)
    assert index.collections() == {}
    with pytest.raises(NoCollection):
        index.open(NAME)
    assert index.create(META, name=NAME).count() == 0
    index.close()


@pytest.mark.parametrize("name", ["../evil", "", ".hidden", "a/b"])
def test_a_name_may_not_leave_the_folder(folder, name):
    with pytest.raises(InvalidRequest):
        EdgeIndex(folder).open(name)


def test_an_alias_that_was_read_before_is_read_again_once_another_has_moved_it(folder):
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


def test_an_alias_that_moves_twice_within_a_tick_of_the_clock_is_seen(folder):
    index, aliases, now = EdgeIndex(folder), folder / "aliases.json", time.time_ns()
    for name in ("cxr_a", "cxr_b"):  # of one length, in one file, at one time: nothing but the content differs
        aliases.write_text(json.dumps({ALIAS: name}))
        os.utime(aliases, ns=(now, now))
        assert index.active() == name


@pytest.mark.parametrize(("file", "match"), [("aliases.json", "cxr use"), (f"{NAME}/collection.json", "damaged")])
def test_damaged_records_are_named(folder, file, match):
    (folder / file).write_text("{")
    index = EdgeIndex(folder)
    with pytest.raises(IndexFailure, match=match):
        index.active()
        index.collections()


def test_closing_waits_for_those_who_still_read(folder):
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
