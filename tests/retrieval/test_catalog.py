import shutil

import pytest

from retrieval.catalog import Catalog
from retrieval.errors import BundleError, InvalidRequest, NoCollection, UnknownModel
from retrieval.index import open_index
from retrieval.settings import RetrievalSettings
from tests.conftest import write_tiny_bundle


@pytest.fixture
def catalog(tiny_home):
    with Catalog(RetrievalSettings(device="cpu")) as opened:
        yield opened


def names(catalog, attribute):
    return {status.key for status in catalog.models() if getattr(status, attribute)}


def test_models_are_installed_collected_and_active(catalog, tiny_home):
    write_tiny_bundle(tiny_home / "models", "tiny-c", seed=7)
    shutil.rmtree(tiny_home / "models" / "tiny-b")
    assert names(catalog, "installed") >= {"tiny-a", "tiny-c"}
    assert names(catalog, "collection") == {"tiny-a", "tiny-b"}
    assert names(catalog, "active") == {"tiny-a"}


def test_the_active_model_is_looked_up_at_each_call(catalog):
    assert catalog.retriever().model == "tiny-a"
    with Catalog(RetrievalSettings(device="cpu")) as elsewhere:
        elsewhere.activate("tiny-b")
    assert catalog.retriever().model == "tiny-b"
    assert catalog.retriever("tiny-a").model == "tiny-a"


def test_a_retriever_is_opened_once(catalog):
    assert catalog.retriever("tiny-a") is catalog.retriever()


def test_only_a_model_with_a_collection_can_be_activated(catalog, tiny_home):
    write_tiny_bundle(tiny_home / "models", "tiny-c", seed=7)
    with pytest.raises(NoCollection, match="cxr ingest"):
        catalog.activate("tiny-c")
    with pytest.raises(UnknownModel):
        catalog.activate("nothing")
    assert catalog.active_model() == "tiny-a"


def test_without_an_active_model_a_search_says_what_to_do(tmp_path):
    with Catalog(RetrievalSettings(home=tmp_path)) as catalog, pytest.raises(NoCollection, match="cxr demo"):
        catalog.retriever()


def test_a_bundle_that_cannot_be_read_does_not_hide_the_others(catalog, tiny_home):
    (tiny_home / "models" / "future").mkdir()
    (tiny_home / "models" / "future" / "manifest.json").write_text('{"format": 99}')
    assert names(catalog, "installed") >= {"tiny-a", "tiny-b"}
    assert "future" not in names(catalog, "installed")


def test_a_renamed_bundle_is_refused(catalog, tiny_home):
    (tiny_home / "models" / "tiny-b").rename(tiny_home / "models" / "other")
    with pytest.raises(BundleError, match="holds the model tiny-b"):
        catalog.retriever("other")


@pytest.mark.parametrize("location", ["localhost:6333", "10.0.0.7:6333/x", "grpc://localhost:6334"])
def test_an_address_without_its_scheme_is_no_folder(location):
    with pytest.raises(InvalidRequest, match="http://"):
        open_index(RetrievalSettings(index=location))
