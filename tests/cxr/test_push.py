"""`cxr push` copies a collection to another index."""

import pytest

from retrieval.errors import IndexUnreachable, InvalidRequest, NoCollection
from retrieval.index.edge.index import EdgeIndex
from retrieval.index.schema import CollectionLayout
from tests.cxr.command_runs import change_meta, document, invoke, read_metas
from tests.recovery.qdrant_stand_in import QdrantStandIn
from tests.retrieval.engines import contents

TINY = "cxr_tiny-a"


def test_push_copies_a_collection_and_sends_nothing_twice(tiny_home):
    target = tiny_home / "shared"
    first = document("push", "tiny-a", "--to", target)
    assert (first["sent"], first["unchanged"], first["kept"], first["verified"]) == (24, 0, 0, 24)
    assert first["counts"] == {"indiana": 24} and first["complete"] and first["active"]
    assert first["location"] == str(target)
    said = invoke("push", "tiny-a", "--to", target).stderr
    assert "0 images sent, 24 already there, 24 read back and equal" in said
    assert "it holds 24 images of indiana" in said
    here, there = EdgeIndex(tiny_home / "index"), EdgeIndex(target)
    assert contents(there.open(TINY)).keys() == contents(here.open(TINY)).keys()
    assert there.collections()[TINY] == here.collections()[TINY]
    here.close()
    there.close()
    assert not document("push", "tiny-b", "--to", target)["active"]


def test_a_search_on_the_copy_gives_the_hits_of_the_original(tiny_home):
    words = ("search", "--text", "pleural effusion", "--device", "cpu", "-k", 5)
    invoke("push", "tiny-a", "--to", tiny_home / "shared")
    here, there = document(*words), document(*words, "--index", tiny_home / "shared")
    assert [hit["image_id"] for hit in there["hits"]] == [hit["image_id"] for hit in here["hits"]]
    for mine, theirs in zip(here["hits"], there["hits"], strict=True):
        assert theirs["score"] == pytest.approx(mine["score"], abs=2e-3)


def test_push_accepts_a_layout_and_refuses_one_that_the_engine_lacks(tiny_home):
    target = tiny_home / "shared"
    with pytest.raises(InvalidRequest, match="--index"):
        invoke("push", "tiny-a", "--to", target, "--shards", 2)
    with pytest.raises(InvalidRequest, match="one of none, int8"):
        invoke("push", "tiny-a", "--to", target, "--quantization", "int4")
    assert read_metas(target) == {}
    invoke("push", "tiny-a", "--to", target, "--quantization", "int8")
    assert read_metas(target)[TINY].layout == CollectionLayout(quantization="int8")
    invoke("push", "tiny-a", "--to", target, "--quantization", "none", "--recreate")
    assert read_metas(target)[TINY].layout == CollectionLayout(quantization="none")


def test_push_to_the_same_or_an_unreachable_index_is_refused(tiny_home, monkeypatch):
    for same in (tiny_home / "index", tiny_home / "media" / ".." / "index"):
        with pytest.raises(InvalidRequest, match="the source index itself"):
            invoke("push", "tiny-a", "--to", same)
    with QdrantStandIn() as server, pytest.raises(InvalidRequest, match="the source index itself"):
        invoke("push", "tiny-a", "--index", server.url, "--to", f"http://127.0.0.1:9,{server.url}/")
    with pytest.raises(InvalidRequest, match="http://"):
        invoke("push", "tiny-a", "--to", "localhost:6333")
    monkeypatch.setenv("CXR_INDEX_PATIENCE_S", "0")
    with pytest.raises(IndexUnreachable, match=r"127\.0\.0\.1:9"):
        invoke("push", "tiny-a", "--to", "http://127.0.0.1:9")
    with pytest.raises(NoCollection):
        invoke("push", "tiny-c", "--to", tiny_home / "shared")


def test_push_reports_kept_images_and_an_incomplete_original(tiny_home):
    target = tiny_home / "shared"
    invoke("push", "tiny-a", "--to", target)
    index = EdgeIndex(tiny_home / "index")
    index.open(TINY).delete([next(iter(contents(index.open(TINY))))])
    index.close()
    change_meta(tiny_home, "tiny-a", complete=False)
    said = invoke("push", "tiny-a", "--to", target).stderr
    assert "1 of them are not in the original and were kept" in said
    assert "not complete" in said
    assert not read_metas(target)[TINY].complete
