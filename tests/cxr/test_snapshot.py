"""`cxr snapshot create` and `restore`."""

import pytest

from retrieval.errors import CollectionExists, SnapshotDamaged
from tests.cxr.command_runs import change_meta, document, invoke, read_active, read_metas

TINY = "cxr_tiny-a"


def test_a_snapshot_restores_a_dropped_collection(tiny_home):
    file = tiny_home / "keep" / "tiny.zip"
    before, meta = search_hits(), read_metas(tiny_home / "index")[TINY]
    made = document("snapshot", "create", "tiny-a", file)
    assert (made["points"], made["counts"], made["complete"]) == (24, {"indiana": 24}, True)
    assert made["size_bytes"] == file.stat().st_size
    invoke("drop", "tiny-a", "--yes", "--force")
    assert read_active(tiny_home) is None
    done = document("snapshot", "restore", file)
    assert (done["sent"], done["verified"], done["active"]) == (24, 24, True)
    assert read_metas(tiny_home / "index")[TINY] == meta
    assert search_hits() == before


def search_hits():
    found = document("search", "--text", "nodule", "--model", "tiny-a", "--device", "cpu")
    return [(hit["image_id"], pytest.approx(hit["score"], abs=2e-3)) for hit in found["hits"]]


def test_snapshot_commands_print_their_result(tiny_home):
    file = tiny_home / "tiny.zip"
    said = invoke("snapshot", "create", "tiny-a", file).stderr
    assert "24 images" in said and "read back" in said and "not complete" not in said
    with pytest.raises(CollectionExists, match="--recreate"):
        invoke("snapshot", "restore", file)
    restored = invoke("snapshot", "restore", file, "--recreate").stderr
    assert "24 images sent" in restored and "it is the active collection" in restored
    change_meta(tiny_home, "tiny-a", complete=False)
    assert "not complete" in invoke("snapshot", "create", "tiny-a", file).stderr
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(SnapshotDamaged, match=r"tiny\.zip"):
        invoke("snapshot", "restore", file, "--recreate")
    assert read_metas(tiny_home / "index")[TINY].counts == {"indiana": 24}
