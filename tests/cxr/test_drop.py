"""`cxr drop` removes a collection after a confirmation."""

import pytest

from retrieval.catalog import Catalog
from retrieval.errors import InvalidRequest, ModelActive, NoCollection
from tests.cxr.command_runs import document, invoke, read_metas


def test_drop_shows_the_images_and_asks_for_confirmation(tiny_home):
    declined = invoke("drop", "tiny-b", answer="n\n")
    assert "24 images of indiana" in declined.stderr
    assert "bundle and the thumbnails stay" in declined.stderr
    assert "nothing was removed" in declined.stderr
    assert "cxr_tiny-b" in read_metas(tiny_home / "index")
    assert invoke("drop", "tiny-b", answer="").exit_code == 1  # no answer on stdin
    assert "cxr_tiny-b" in read_metas(tiny_home / "index")
    assert "was removed" in invoke("drop", "tiny-b", answer="y\n").stderr
    assert "cxr_tiny-b" not in read_metas(tiny_home / "index")
    with Catalog() as catalog:
        assert "tiny-b" in {status.key for status in catalog.models() if status.installed}


def test_drop_with_json_needs_yes(tiny_home):
    with pytest.raises(InvalidRequest, match="--yes"):
        invoke("drop", "tiny-b", "--json")
    assert document("drop", "tiny-b", "--yes") == {
        "dropped": "tiny-b", "counts": {"indiana": 24}, "active": "tiny-a",
    }  # fmt: skip
    with pytest.raises(ModelActive, match="--force"):
        invoke("drop", "tiny-a", "--yes", "--json")
    assert document("drop", "tiny-a", "--yes", "--force")["active"] is None
    with pytest.raises(NoCollection):
        invoke("drop", "tiny-a", "--yes")
