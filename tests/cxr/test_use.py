"""`cxr use` and `cxr models`: the active model and the state of each."""

import pytest

from retrieval.errors import CountsDiffer, InvalidRequest, NoCollection
from tests.cxr.command_runs import change_meta, document, invoke, read_active, read_metas

TINY = "cxr_tiny-a"


def test_use_switches_the_active_model_and_back(tiny_home):
    used = document("use", "tiny-b")
    assert used == {
        "active": "tiny-b",
        "collection": "cxr_tiny-b",
        "bundle_id": read_metas(tiny_home / "index")["cxr_tiny-b"].bundle_id,
        "images": 24,
        "complete": True,
    }
    assert "tiny-a is active" in invoke("use", "--back").stderr
    assert read_active(tiny_home) == TINY
    assert document("use", "--back")["active"] == "tiny-b"


def test_use_needs_exactly_one_model(tiny_home):
    for words in (("use",), ("use", "tiny-b", "--back")):
        with pytest.raises(InvalidRequest, match="either"):
            invoke(*words)
    with pytest.raises(NoCollection, match="before"):
        invoke("use", "--back")


def test_use_refuses_a_collection_with_fewer_images_unless_forced(tiny_home):
    change_meta(tiny_home, "tiny-b", counts={"indiana": 23})
    with pytest.raises(CountsDiffer, match="23 of 24"):
        invoke("use", "tiny-b")
    assert read_active(tiny_home) == TINY
    assert document("use", "tiny-b", "--force")["images"] == 23


def test_models_lists_images_and_marks_incomplete_collections(tiny_home):
    change_meta(tiny_home, "tiny-b", complete=False)
    rows = {row["key"]: row for row in document("models")["models"]}
    assert (rows["tiny-a"]["images"], rows["tiny-a"]["complete"]) == (24, True)
    assert (rows["tiny-b"]["images"], rows["tiny-b"]["complete"]) == (24, False)
    table = invoke("models").stdout
    assert "24 …" in next(line for line in table.splitlines() if "tiny-b" in line)
    assert "…" not in next(line for line in table.splitlines() if "tiny-a" in line)
