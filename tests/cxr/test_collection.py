"""`cxr use`, `push`, `snapshot` and `drop`, as they are typed."""

import json

import msgspec
import pytest
from typer.testing import CliRunner

import cxr.main
from retrieval.catalog import Catalog
from retrieval.errors import (
    CollectionExists,
    CountsDiffer,
    IndexUnreachable,
    InvalidRequest,
    ModelActive,
    NoCollection,
    SnapshotDamaged,
)
from retrieval.index.edge.index import EdgeIndex
from retrieval.index.schema import CollectionLayout
from tests.retrieval.engines import contents

TINY = "cxr_tiny-a"


def run(*words, answer=None):
    """The command's result; its error is raised, as the root of the command line sees it."""
    result = CliRunner().invoke(cxr.main.app, [str(word) for word in words], input=answer)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert (result.exit_code == 0) == (not isinstance(result.exception, SystemExit))
    return result


def document(*words):
    return json.loads(run(*words, "--json").stdout)


def metas(folder):
    return EdgeIndex(folder).collections()


def record(home, model, **values):
    index = EdgeIndex(home / "index")
    collection = index.open(f"cxr_{model}")
    collection.record(msgspec.structs.replace(collection.meta, **values))
    index.close()


def active(home):
    return EdgeIndex(home / "index").active()


def test_use_switches_and_goes_back(tiny_home):
    used = document("use", "tiny-b")
    assert used == {
        "active": "tiny-b",
        "collection": "cxr_tiny-b",
        "bundle_id": metas(tiny_home / "index")["cxr_tiny-b"].bundle_id,
        "images": 24,
        "complete": True,
    }
    assert "tiny-a is active" in run("use", "--back").stderr
    assert active(tiny_home) == TINY
    assert document("use", "--back")["active"] == "tiny-b"


def test_use_asks_for_one_model(tiny_home):
    for words in (("use",), ("use", "tiny-b", "--back")):
        with pytest.raises(InvalidRequest, match="either"):
            run(*words)
    with pytest.raises(NoCollection, match="before"):
        run("use", "--back")


def test_use_refuses_to_lose_cases_and_obeys_force(tiny_home):
    record(tiny_home, "tiny-b", counts={"indiana": 23})
    with pytest.raises(CountsDiffer, match="23 of 24"):
        run("use", "tiny-b")
    assert active(tiny_home) == TINY
    assert document("use", "tiny-b", "--force")["images"] == 23


def test_models_lists_images_and_marks_what_is_not_complete(tiny_home):
    record(tiny_home, "tiny-b", complete=False)
    rows = {row["key"]: row for row in document("models")["models"]}
    assert (rows["tiny-a"]["images"], rows["tiny-a"]["complete"]) == (24, True)
    assert (rows["tiny-b"]["images"], rows["tiny-b"]["complete"]) == (24, False)
    table = run("models").stdout
    assert "24 …" in next(line for line in table.splitlines() if "tiny-b" in line)
    assert "…" not in next(line for line in table.splitlines() if "tiny-a" in line)


def test_push_copies_to_another_index_and_sends_nothing_twice(tiny_home):
    target = tiny_home / "shared"
    first = document("push", "tiny-a", "--to", target)
    assert (first["sent"], first["unchanged"], first["kept"], first["verified"]) == (24, 0, 0, 24)
    assert first["counts"] == {"indiana": 24} and first["complete"] and first["active"]
    assert first["location"] == str(target)
    said = run("push", "tiny-a", "--to", target).stderr
    assert "0 images sent, 24 already there, 24 read back and equal" in said
    assert "it holds 24 images of indiana" in said
    here, there = EdgeIndex(tiny_home / "index"), EdgeIndex(target)
    assert contents(there.open(TINY)).keys() == contents(here.open(TINY)).keys()
    assert there.collections()[TINY] == here.collections()[TINY]
    here.close()
    there.close()
    assert not document("push", "tiny-b", "--to", target)["active"]


def test_a_search_on_the_copy_finds_what_a_search_on_the_original_finds(tiny_home):
    words = ("search", "--text", "pleural effusion", "--device", "cpu", "-k", 5)
    run("push", "tiny-a", "--to", tiny_home / "shared")
    here, there = document(*words), document(*words, "--index", tiny_home / "shared")
    assert [hit["image_id"] for hit in there["hits"]] == [hit["image_id"] for hit in here["hits"]]
    for mine, theirs in zip(here["hits"], there["hits"], strict=True):
        assert theirs["score"] == pytest.approx(mine["score"], abs=2e-3)


def test_push_takes_layouts_and_refuses_those_that_the_engine_has_not(tiny_home):
    target = tiny_home / "shared"
    with pytest.raises(InvalidRequest, match="--index"):
        run("push", "tiny-a", "--to", target, "--shards", 2)
    with pytest.raises(InvalidRequest, match="none or int8"):
        run("push", "tiny-a", "--to", target, "--quantization", "int4")
    assert metas(target) == {}
    run("push", "tiny-a", "--to", target, "--quantization", "int8", "--pause-optimizer")
    assert metas(target)[TINY].layout == CollectionLayout(quantization="int8")
    run("push", "tiny-a", "--to", target, "--quantization", "none", "--recreate")
    assert metas(target)[TINY].layout == CollectionLayout(quantization="none")


def test_push_to_itself_or_to_nowhere_is_refused(tiny_home, monkeypatch):
    for same in (tiny_home / "index", tiny_home / "media" / ".." / "index"):
        with pytest.raises(InvalidRequest, match="already"):
            run("push", "tiny-a", "--to", same)
    with pytest.raises(InvalidRequest, match="http://"):
        run("push", "tiny-a", "--to", "localhost:6333")
    monkeypatch.setenv("CXR_INDEX_PATIENCE_S", "0")
    with pytest.raises(IndexUnreachable, match=r"127\.0\.0\.1:9"):
        run("push", "tiny-a", "--to", "http://127.0.0.1:9")
    with pytest.raises(NoCollection):
        run("push", "tiny-c", "--to", tiny_home / "shared")


def test_push_says_what_was_kept_and_what_is_not_complete(tiny_home):
    target = tiny_home / "shared"
    run("push", "tiny-a", "--to", target)
    index = EdgeIndex(tiny_home / "index")
    index.open(TINY).delete([next(iter(contents(index.open(TINY))))])
    index.close()
    record(tiny_home, "tiny-a", complete=False)
    said = run("push", "tiny-a", "--to", target).stderr
    assert "1 of them are not in the original and were kept" in said
    assert "not complete" in said
    assert not metas(target)[TINY].complete


def test_a_snapshot_brings_back_what_was_dropped(tiny_home):
    file = tiny_home / "keep" / "tiny.zip"
    before, meta = search_hits(), metas(tiny_home / "index")[TINY]
    made = document("snapshot", "create", "tiny-a", file)
    assert (made["points"], made["counts"], made["complete"]) == (24, {"indiana": 24}, True)
    assert made["size_bytes"] == file.stat().st_size
    run("drop", "tiny-a", "--yes", "--force")
    assert active(tiny_home) is None
    done = document("snapshot", "restore", file)
    assert (done["sent"], done["verified"], done["active"]) == (24, 24, True)
    assert metas(tiny_home / "index")[TINY] == meta
    assert search_hits() == before


def search_hits():
    found = document("search", "--text", "nodule", "--model", "tiny-a", "--device", "cpu")
    return [(hit["image_id"], pytest.approx(hit["score"], abs=2e-3)) for hit in found["hits"]]


def test_snapshots_say_what_they_did_in_words(tiny_home):
    file = tiny_home / "tiny.zip"
    said = run("snapshot", "create", "tiny-a", file).stderr
    assert "24 images" in said and "read back" in said and "not complete" not in said
    with pytest.raises(CollectionExists, match="--recreate"):
        run("snapshot", "restore", file)
    restored = run("snapshot", "restore", file, "--recreate").stderr
    assert "24 images sent" in restored and "it is the active collection" in restored
    record(tiny_home, "tiny-a", complete=False)
    assert "not complete" in run("snapshot", "create", "tiny-a", file).stderr
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(SnapshotDamaged, match=r"tiny\.zip"):
        run("snapshot", "restore", file, "--recreate")
    assert metas(tiny_home / "index")[TINY].counts == {"indiana": 24}


def test_drop_shows_what_goes_and_asks(tiny_home):
    declined = run("drop", "tiny-b", answer="n\n")
    assert "24 images of indiana" in declined.stderr
    assert "bundle and the thumbnails stay" in declined.stderr
    assert "nothing was removed" in declined.stderr
    assert "cxr_tiny-b" in metas(tiny_home / "index")
    assert run("drop", "tiny-b", answer="").exit_code == 1  # nobody there to ask
    assert "cxr_tiny-b" in metas(tiny_home / "index")
    assert "was removed" in run("drop", "tiny-b", answer="y\n").stderr
    assert "cxr_tiny-b" not in metas(tiny_home / "index")
    with Catalog() as catalog:
        assert "tiny-b" in {status.key for status in catalog.models() if status.installed}


def test_drop_for_programs(tiny_home):
    with pytest.raises(InvalidRequest, match="--yes"):
        run("drop", "tiny-b", "--json")
    assert document("drop", "tiny-b", "--yes") == {
        "dropped": "tiny-b", "counts": {"indiana": 24}, "active": "tiny-a",
    }  # fmt: skip
    with pytest.raises(ModelActive, match="--force"):
        run("drop", "tiny-a", "--yes", "--json")
    assert document("drop", "tiny-a", "--yes", "--force")["active"] is None
    with pytest.raises(NoCollection):
        run("drop", "tiny-a", "--yes")
