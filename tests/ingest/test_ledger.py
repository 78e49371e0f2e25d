import sqlite3
import subprocess
import sys
import threading

import numpy as np
import pytest

from ingest.ledger import Ledger, ledger_path
from ingest.ledger.schema import FileRow
from retrieval.errors import SystemFailure
from retrieval.records import Quarantined

WHEN = "2026-01-01T00:00:00+00:00"


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "folder" / "cxr_tiny.sqlite") as opened:
        yield opened


def row(name, **more):
    return FileRow(
        **{"name": name, "image_id": f"id-{name}", "path": f"/a/{name}", "size": 9, "mtime_ns": 10**18 + 1}
        | {"sha256": "0" * 64, "bundle_id": "b1"}
        | more
    )


def test_rows_come_back_as_they_were_written(ledger):
    rows = [row("a.png", notes=("8 bit", "inverted")), row("b.png", size=2**40)]
    ledger.record(1, "one", rows)
    assert ledger.rows("one", ["a.png", "b.png", "c.png"]) == {each.name: each for each in rows}
    assert ledger.rows("two", ["a.png"]) == {}


def test_the_later_row_of_a_file_replaces_the_earlier(ledger):
    ledger.record(1, "one", [row("a.png")])
    ledger.record(2, "one", [row("a.png", sha256="1" * 64)])
    assert ledger.rows("one", ["a.png"])["a.png"].sha256 == "1" * 64


def test_more_names_than_a_statement_takes_parameters(ledger):
    names = [f"{number}.png" for number in range(2100)]
    ledger.record(1, "one", [row(name) for name in names])
    assert ledger.rows("one", names).keys() == set(names)


def test_a_file_leaves_quarantine_when_a_later_run_indexes_it(ledger):
    quarantined = [Quarantined("a.png", "missing_file", "no file"), Quarantined("b.png", "empty_file", "0 bytes")]
    ledger.quarantine(1, "one", quarantined)
    ledger.quarantine(1, "two", quarantined[:1])
    ledger.record(2, "one", [row("a.png")])
    assert ledger.quarantined("one") == quarantined[1:]
    assert ledger.quarantined() == [quarantined[0], quarantined[1]]


def test_a_file_that_is_indexed_and_named_twice_stays_in_the_report_of_its_run(ledger):
    twice = Quarantined("a.png", "duplicate_id", "twice")
    ledger.quarantine(1, "one", [twice])
    ledger.record(1, "one", [row("a.png")])
    assert ledger.quarantined() == [twice]


def test_a_file_keeps_one_line_for_each_code(ledger):
    codes = [Quarantined("a.png", code, "") for code in ("duplicate_id", "missing_file")]
    ledger.quarantine(1, "one", [*codes, codes[0]])
    assert ledger.quarantined() == codes


def test_a_full_run_removes_old_quarantine_entries_of_its_dataset_only(ledger):
    old, new = Quarantined("old.png", "missing_file", ""), Quarantined("new.png", "missing_file", "")
    ledger.quarantine(1, "one", [old, new])
    ledger.quarantine(1, "two", [old])
    ledger.quarantine(2, "one", [new])
    ledger.forget_older(2, "one")
    assert ledger.quarantined("one") == [new]
    assert ledger.quarantined("two") == [old]


def test_pruned_images_are_forgotten_by_image_id(ledger):
    ledger.record(1, "one", [row("a.png"), row("b.png")])
    ledger.record(1, "two", [row("a.png")])
    ledger.forget("one", ["id-a.png", "id-unknown"])
    assert ledger.rows("one", ["a.png", "b.png"]).keys() == {"b.png"}
    assert ledger.rows("two", ["a.png"])


def test_notes_are_counted_over_indexed_files(ledger):
    ledger.record(1, "one", [row("a", notes=("inverted", "8 bit")), row("b", notes=("inverted",)), row("c")])
    assert list(ledger.notes().items()) == [("inverted", 2), ("8 bit", 1)]


def test_text_vectors_come_back_in_half_precision_to_the_bit_and_for_their_bundle_only(ledger):
    vectors = {text: np.random.default_rng(n).standard_normal(512).astype(np.float32) for n, text in enumerate("ab")}
    ledger.remember_texts("b1", vectors)
    found = ledger.texts("b1", ["a", "b", "c"])
    assert found.keys() == {"a", "b"}
    for text, vector in found.items():
        assert vector.dtype == np.float32
        np.testing.assert_array_equal(vector, vectors[text].astype(np.float16).astype(np.float32))
    assert ledger.texts("b2", ["a"]) == {}


def test_runs_are_listed_latest_first_with_source_and_summary(ledger):
    first = ledger.begin("one", "1/1", {"kind": "images", "dataset": "one", "options": {}}, WHEN)
    second = ledger.begin("one", "2/3", None, WHEN)
    ledger.end(second, WHEN, {"indexed": 3, "file": "ä"})
    latest, cut_off = ledger.runs()
    assert (latest.run, latest.part, latest.source, latest.summary) == (
        second,
        "2/3",
        None,
        {"indexed": 3, "file": "ä"},
    )
    assert (cut_off.run, cut_off.finished_at, cut_off.summary) == (first, None, None)
    assert cut_off.source["kind"] == "images"


def test_everything_is_there_after_closing_and_nothing_after_clearing(tmp_path):
    path = tmp_path / "cxr_tiny.sqlite"
    with Ledger(path) as ledger:
        ledger.begin("one", "1/1", None, WHEN)
        ledger.record(1, "one", [row("a")])
        ledger.quarantine(1, "one", [Quarantined("b", "missing_file", "")])
        ledger.remember_texts("b1", {"text": np.ones(4, dtype=np.float32)})
    with Ledger(path) as ledger:
        assert (len(ledger.rows("one", ["a"])), len(ledger.quarantined()), len(ledger.runs())) == (1, 1, 1)
        assert ledger.texts("b1", ["text"])
        ledger.clear()
        assert (ledger.rows("one", ["a"]), ledger.quarantined(), ledger.runs()) == ({}, [], [])
        assert ledger.texts("b1", ["text"]) == {}


def test_a_write_that_fails_leaves_no_half_of_itself_and_no_lock(ledger):
    with pytest.raises(sqlite3.Error):
        ledger.quarantine(1, "one", [Quarantined("a", "c", "d"), Quarantined("b", "c", object())])
    assert ledger.quarantined() == []
    ledger.quarantine(1, "one", [Quarantined("a", "c", "d")])
    assert len(ledger.quarantined()) == 1


def test_a_file_that_is_not_a_ledger_is_named(tmp_path):
    path = tmp_path / "cxr_tiny.sqlite"
    path.write_bytes(b"this is not a database, but long enough to be taken for one" * 20)
    with pytest.raises(SystemFailure, match=r"cxr_tiny\.sqlite is damaged.*remove it"):
        Ledger(path)


def test_a_ledger_of_a_later_version_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "cxr_tiny.sqlite"
    with Ledger(path):
        pass
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version=99")
    database.close()
    with pytest.raises(SystemFailure, match="format 99"):
        Ledger(path)
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA user_version").fetchone() == (99,)
    database.close()


def test_threads_may_share_a_ledger(ledger):
    errors = []

    def work(number):
        try:
            for turn in range(20):
                ledger.record(1, "one", [row(f"{number}-{turn}")])
                assert ledger.rows("one", [f"{number}-{turn}"])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(ledger.rows("one", [f"{number}-{turn}" for number in range(6) for turn in range(20)])) == 120


def test_a_new_ledger_may_be_opened_by_many_at_the_same_moment(tmp_path):
    errors = []

    def work(path, together):
        together.wait()
        try:
            Ledger(path).close()
        except BaseException as error:
            errors.append(error)

    for turn in range(30):
        together = threading.Barrier(6)
        path = tmp_path / f"{turn}.sqlite"
        threads = [threading.Thread(target=work, args=(path, together)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert errors == []


_OTHER = """
import sys
from pathlib import Path
from ingest.ledger import Ledger
from ingest.ledger.schema import FileRow
with Ledger(Path(sys.argv[1])) as ledger:
    for number in range(30):
        name = f"{sys.argv[2]}-{number}"
        ledger.record(1, "one", [FileRow(name, name, name, 1, 1, "0", "b")])
        ledger.begin("one", "1/1", None, "")
"""


def test_processes_may_share_a_ledger_that_none_of_them_has_made_yet(tmp_path):
    path = tmp_path / "cxr_tiny.sqlite"
    processes = [subprocess.Popen([sys.executable, "-c", _OTHER, path, str(number)]) for number in range(4)]
    assert [process.wait(timeout=60) for process in processes] == [0] * 4
    with Ledger(path) as ledger:
        assert len(ledger.rows("one", [f"{who}-{number}" for who in range(4) for number in range(30)])) == 120
        assert len(ledger.runs()) == 120


def test_each_index_has_separate_ledgers(tmp_path):
    here, there = ledger_path(tmp_path, "/data/index", "cxr_a"), ledger_path(tmp_path, "http://host:6333", "cxr_a")
    assert here != there
    assert here == ledger_path(tmp_path, "/data/other/../index", "cxr_a")
    assert ledger_path(tmp_path, "/data/index", "cxr_b").parent == here.parent
