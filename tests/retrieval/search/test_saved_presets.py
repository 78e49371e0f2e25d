"""Presets: saved, used by the next search, and never outside their folder."""

import pytest

from retrieval.catalog import Catalog
from retrieval.errors import InvalidRequest
from retrieval.search.query import Query
from retrieval.search.saved_presets import read_preset, save_preset
from retrieval.settings import RetrievalSettings

WEIGHTS = {"image": 0.7, "findings": 0.3}


def test_a_saved_preset_is_used_by_its_name(tiny_home):
    with Catalog(RetrievalSettings(home=tiny_home, device="cpu")) as catalog:
        retriever = catalog.retriever()
        with pytest.raises(InvalidRequest, match="none, signals, visual, report, or weights"):
            retriever.search(Query(text="effusion", rerank="tuned"))
        save_preset(tiny_home, "tuned", WEIGHTS)
        found = retriever.search(Query(text="effusion", rerank="tuned"))
        expected = retriever.search(Query(text="effusion", rerank=WEIGHTS))
    assert (found.interpreted["rerank"], found.interpreted["weights"]) == ("tuned", WEIGHTS)
    assert [hit.image_id for hit in found.hits] == [hit.image_id for hit in expected.hits]
    save_preset(tiny_home, "tuned", {"image": 1.0})
    assert read_preset(tiny_home, "tuned") == {"image": 1.0}


@pytest.mark.parametrize("name", ["signals", "none", "", "../x", "A", "x" * 65, "a/b", "."])
def test_names_of_built_in_presets_and_paths_are_refused(tmp_path, name):
    with pytest.raises(InvalidRequest, match="name"):
        save_preset(tmp_path, name, WEIGHTS)
    (tmp_path / "x.json").write_text('{"image": 1}')
    with pytest.raises(InvalidRequest, match="rerank must be one of"):
        read_preset(tmp_path, name)


@pytest.mark.parametrize("content", ["", "[]", '{"image": "much"}', '{"pixels": 1}', '{"image": -1}'])
def test_a_damaged_preset_is_named(tmp_path, content):
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "tuned.json").write_text(content)
    with pytest.raises(InvalidRequest, match=r"rerank|tuned\.json"):
        read_preset(tmp_path, "tuned")
