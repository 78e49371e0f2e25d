import shutil

import msgspec
import pytest

from retrieval.catalog import Catalog
from retrieval.errors import (
    BundleError,
    BundleMismatch,
    CountsDiffer,
    IndexLocked,
    InvalidRequest,
    ModelActive,
    NoCollection,
    UnknownModel,
)
from retrieval.index.engines import open_index
from retrieval.settings import RetrievalSettings
from tests.conftest import write_tiny_bundle


@pytest.fixture
def catalog(tiny_home):
    with Catalog(RetrievalSettings(device="cpu")) as opened:
        yield opened


def names(catalog, attribute):
    return {status.key for status in catalog.models() if getattr(status, attribute)}


def test_models_have_their_bundle_collection_and_active_state(catalog, tiny_home):
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


def test_without_an_active_model_a_search_is_an_error_with_a_remedy(tmp_path):
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
def test_an_address_without_a_scheme_is_not_a_folder(location):
    with pytest.raises(InvalidRequest, match="http://"):
        open_index(RetrievalSettings(index=location))


def record(catalog, model, **values):
    collection = catalog.index.open(f"cxr_{model}")
    collection.record(msgspec.structs.replace(collection.meta, **values))


def test_models_have_image_counts_and_completeness(catalog, tiny_home):
    write_tiny_bundle(tiny_home / "models", "tiny-c", seed=7)
    record(catalog, "tiny-b", complete=False, counts={"indiana": 20, "other": 3})
    shown = {status.key: (status.images, status.complete) for status in catalog.models()}
    assert shown["tiny-a"] == (24, True)
    assert shown["tiny-b"] == (23, False)
    assert shown["tiny-c"] == (None, None)
    record(catalog, "tiny-b", complete=False, counts={})
    assert {s.key: s.images for s in catalog.models()}["tiny-b"] is None


@pytest.mark.parametrize(
    ("counts", "complete", "message"),
    [
        ({"indiana": 24}, False, "not complete"),
        ({}, False, "earlier version"),
        ({"indiana": 23}, True, "23 of 24 images of indiana"),
        ({"indiana": 1200}, False, "not complete"),
        ({"other": 24}, True, "0 of 24 images of indiana"),
        ({}, True, "0 of 24 images of indiana"),
    ],
)
def test_no_case_is_lost_by_switching_unless_forced(catalog, counts, complete, message):
    record(catalog, "tiny-b", counts=counts, complete=complete, pending=None)
    with pytest.raises(CountsDiffer, match=message) as refused:
        catalog.activate("tiny-b")
    assert "--force" in str(refused.value) and "cxr ingest" in str(refused.value)
    assert (refused.value.code, refused.value.http_status) == ("counts_differ", 409)
    assert catalog.active_model() == "tiny-a"
    assert catalog.activate("tiny-b", force=True).active
    assert catalog.active_model() == "tiny-b"


@pytest.mark.parametrize("counts", [{"indiana": 24}, {"indiana": 25}, {"indiana": 24, "other": 1}])
def test_more_images_and_further_datasets_are_accepted(catalog, counts):
    record(catalog, "tiny-b", counts=counts)
    assert catalog.activate("tiny-b").images == sum(counts.values())


def test_every_dataset_is_compared_separately(catalog):
    record(catalog, "tiny-a", counts={"indiana": 1_200, "other": 5})
    record(catalog, "tiny-b", counts={"indiana": 1_100, "third": 5_000})
    with pytest.raises(CountsDiffer, match=r"1,100 of 1,200 images of indiana, 0 of 5 images of other"):
        catalog.activate("tiny-b")


def test_an_active_collection_without_counts_can_be_counted_or_forced(catalog):
    record(catalog, "tiny-a", counts={}, complete=False)
    with pytest.raises(CountsDiffer, match=r"tiny-a, has no recorded image counts.*cxr ingest"):
        catalog.activate("tiny-b")
    catalog.activate("tiny-a")  # it is active already
    catalog.activate("tiny-b", force=True)
    assert catalog.active_model() == "tiny-b"


def test_without_an_active_model_only_a_complete_collection_can_be_activated(catalog):
    catalog.drop("tiny-a", force=True)
    record(catalog, "tiny-b", complete=False)
    with pytest.raises(CountsDiffer, match="not complete"):
        catalog.activate("tiny-b")
    record(catalog, "tiny-b", complete=True)
    assert catalog.activate("tiny-b").active


def test_switching_needs_no_lock(catalog, tiny_home):
    assert catalog.retriever("tiny-b").model == "tiny-b"
    with Catalog(RetrievalSettings(device="cpu")) as elsewhere:
        with pytest.raises(IndexLocked):
            elsewhere.retriever("tiny-b")
        elsewhere.activate("tiny-b")
        elsewhere.activate_previous()
        elsewhere.activate_previous()
    assert catalog.active_model() == "tiny-b"


def test_the_previous_model_can_be_activated_whatever_the_counts(catalog):
    with pytest.raises(NoCollection, match="no other model was active before"):
        catalog.activate_previous()
    catalog.activate("tiny-b")
    record(catalog, "tiny-a", counts={"indiana": 1}, complete=False)
    assert catalog.activate_previous().key == "tiny-a"
    assert catalog.activate_previous().key == "tiny-b"
    catalog.drop("tiny-a")
    with pytest.raises(NoCollection, match="removed"):
        catalog.activate_previous()


def test_the_previous_model_is_refused_if_its_bundle_has_changed(catalog, tiny_home):
    catalog.activate("tiny-b")
    shutil.rmtree(tiny_home / "models" / "tiny-a")
    write_tiny_bundle(tiny_home / "models", "tiny-a", seed=9)
    with pytest.raises(BundleMismatch):
        catalog.activate_previous()
    assert catalog.active_model() == "tiny-b"


def test_drop_removes_a_collection_and_keeps_its_bundle_and_thumbnails(catalog, tiny_home):
    asked = []
    catalog.retriever("tiny-b")
    media = sorted((tiny_home / "media").rglob("*.webp"))
    assert catalog.drop("tiny-b", confirm=lambda counts: asked.append(counts)) is None
    assert asked == [{"indiana": 24}]
    assert catalog.retriever("tiny-b").collection.count() == 24
    assert catalog.drop("tiny-b", confirm=lambda counts: True) == {"indiana": 24}
    with pytest.raises(NoCollection):
        catalog.retriever("tiny-b")
    with pytest.raises(NoCollection):
        catalog.drop("tiny-b")
    assert "tiny-b" in names(catalog, "installed")
    assert sorted((tiny_home / "media").rglob("*.webp")) == media
    assert not (tiny_home / "index" / "cxr_tiny-b").exists()


def test_the_active_model_is_dropped_only_by_force(catalog):
    with pytest.raises(ModelActive, match="--force") as refused:
        catalog.drop("tiny-a")
    assert refused.value.http_status == 409
    assert catalog.retriever().collection.count() == 24
    catalog.drop("tiny-a", force=True)
    assert catalog.active_model() is None


def test_a_collection_without_bundle_or_with_a_damaged_shard_can_be_dropped(catalog, tiny_home):
    shutil.rmtree(tiny_home / "models" / "tiny-b")
    (tiny_home / "index" / "cxr_tiny-b" / "shard" / "edge_config.json").write_text("{")
    assert catalog.drop("tiny-b") == {"indiana": 24}
    assert names(catalog, "collection") == {"tiny-a"}


def test_a_collection_in_use_elsewhere_is_not_dropped(catalog):
    with Catalog(RetrievalSettings(device="cpu")) as elsewhere:
        elsewhere.retriever("tiny-b")
        with pytest.raises(IndexLocked):
            catalog.drop("tiny-b")
    assert catalog.drop("tiny-b") == {"indiana": 24}
