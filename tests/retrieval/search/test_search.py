import io
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from archives.indiana import IndianaSource
from ingest.worker import Worker
from retrieval import Filters, Retriever, open_retriever
from retrieval.catalog import Catalog
from retrieval.errors import (
    BundleMismatch,
    InvalidRequest,
    NoCollection,
    UnknownFinding,
    UnknownModel,
    UnknownStudy,
    UnreadableImage,
)
from retrieval.imaging.decoder_pool import decoders
from retrieval.index.schema import Scale
from retrieval.search.query import Case, Query
from retrieval.search.rerank import WEIGHTS
from retrieval.settings import RetrievalSettings
from tests.conftest import write_tiny_bundle


@pytest.fixture
def retriever(tiny_home):
    with open_retriever(device="cpu") as opened:
        yield opened


def search_each_way(retriever, home: Path, **options):
    image = next((home / "archive" / "images").iterdir())
    yield retriever.search_text("left pleural effusion", **options)
    yield retriever.search_image(image, **options)
    yield retriever.search_similar("1", **options)


def test_parts_add_up_to_the_score_for_every_kind_of_query(retriever, tiny_home):
    for result in search_each_way(retriever, tiny_home, k=20):
        assert len(result.hits) == 20
        for hit in result.hits:
            assert sum(hit.parts.values()) == pytest.approx(hit.score, abs=2e-3)
        assert sum(result.interpreted["weights"].values()) == pytest.approx(1, abs=1e-3)


def test_terms_alone_can_give_the_order(retriever):
    result = retriever.search(Query(study=Case(study_id="1"), rerank={"mesh": 1.0}, k=20))
    for hit in result.hits:
        assert hit.score == pytest.approx(hit.signals["mesh"], abs=1e-6)
        assert sum(hit.parts.values()) == pytest.approx(hit.score, abs=1e-6)
    assert [hit.score for hit in result.hits] == sorted((hit.score for hit in result.hits), reverse=True)
    assert result.hits[0].score > result.hits[-1].score


def test_a_stored_study_uses_all_five_signals_and_is_not_its_own_neighbour(retriever):
    result = retriever.search_similar("1", k=30)
    assert set(result.hits[0].parts) == set(WEIGHTS)
    assert "1" not in {hit.study_id for hit in result.hits}


def test_an_image_has_no_terms_so_its_weights_are_shared_among_the_vectors(retriever, tiny_home):
    image = tiny_home / "archive" / "images" / "3_Frontal.png"
    result = retriever.search_image(image, k=1)
    assert result.interpreted["weights"] == {"image": 0.4, "findings": 0.3333, "impression": 0.2667}


def test_the_stored_image_itself_is_the_nearest_one(retriever, tiny_home):
    path = tiny_home / "archive" / "images" / "3_Frontal.png"
    for image in (path, path.read_bytes(), Image.open(io.BytesIO(path.read_bytes()))):
        hit = retriever.search_image(image, k=1, rerank="none").hits[0]
        assert hit.image_id == "3_Frontal.png"
        assert hit.score == pytest.approx(1, abs=2e-3)
        assert hit.parts == {"image": hit.score}


def test_a_decoded_image_is_not_decoded_again(retriever, tiny_home, monkeypatch):
    content = (tiny_home / "archive" / "images" / "3_Frontal.png").read_bytes()
    query = Query(image=content, k=1, rerank="none")
    prepared = decoders.prepare(content, [retriever.encoder.preprocess.settings])
    lacking = decoders.prepare(content, [], preview_size=8)
    expected = retriever.search(query).hits[0]
    assert retriever.search_batch([query, query], [lacking, prepared])[0].hits[0] == expected
    monkeypatch.setattr(decoders, "_run", lambda *_: pytest.fail("decoded again"))
    result = retriever.search_batch([query], [prepared])[0]
    assert result.hits[0] == expected
    assert result.timings_ms["decode"] > 0


def test_rerank_none_is_plain_cosine_order(retriever):
    vector = retriever.encoder.encode_texts(["small nodule"])[0]
    hits = retriever.search_text("small nodule", k=24, rerank="none").hits
    stored = {
        point.payload["image_id"]: point.vectors["image"]
        for point in retriever.collection.scroll(limit=99, vectors=["image"])
    }
    expected = sorted((float(stored[name] @ vector) for name in stored), reverse=True)
    np.testing.assert_allclose([hit.score for hit in hits], expected, atol=2e-3)


def test_every_hit_matches_the_filters(retriever, tiny_home):
    filters = Filters(all=("pleural effusion",), none=("Nodule",), view="frontal")
    for result in search_each_way(retriever, tiny_home, filters=filters):
        assert result.hits
        for hit in result.hits:
            assert "Pleural Effusion" in hit.present
            assert "Nodule" not in hit.present + hit.uncertain
            assert hit.view == "frontal"


def test_a_finding_that_the_text_denies_becomes_a_filter_and_is_reported(retriever):
    result = retriever.search_text("pleural effusion, no cardiomegaly", k=24)
    assert result.interpreted["denied"] == ["Cardiomegaly"]
    assert result.interpreted["asked"] == ["Pleural Effusion"]
    assert result.interpreted["filters"] == {"none": ["Cardiomegaly"]}
    assert result.hits
    assert all("Cardiomegaly" not in hit.present + hit.uncertain for hit in result.hits)


def test_denying_one_side_excludes_only_that_side(retriever):
    result = retriever.search_text("no left pleural effusion", k=24)
    denied = ["Pleural Effusion/left", "Pleural Effusion/bilateral"]
    assert result.interpreted["denied"] == denied
    assert result.interpreted["filters"] == {"none": denied}
    assert all(not {*denied} & {*hit.qualified} for hit in result.hits)
    assert any("Pleural Effusion/right" in hit.qualified for hit in result.hits)


def test_a_denied_finding_that_the_collection_does_not_know_still_filters(retriever):
    result = retriever.search_text("no pneumothorax, no hiatal hernia", k=3)
    assert len(result.hits) == 3


@pytest.mark.parametrize("k", [0, -1, 101])
def test_k_out_of_range_is_refused(retriever, k):
    with pytest.raises(InvalidRequest, match="k must be 1 to 100"):
        retriever.search_text("effusion", k=k)


@pytest.mark.parametrize("text", ["", "  ", "x" * 2001])
def test_text_out_of_range_is_refused(retriever, text):
    with pytest.raises(InvalidRequest, match="1 to 2,000"):
        retriever.search_text(text)


def test_wrong_requests_are_refused_by_name(retriever):
    with pytest.raises(UnknownFinding, match="Pleural Effusion"):
        retriever.search_text("x", filters=Filters(all=("Plural Effusion",)))
    with pytest.raises(UnknownStudy, match="nobody"):
        retriever.search_similar("nobody")
    with pytest.raises(UnknownStudy):
        retriever.study("nobody")
    with pytest.raises(UnreadableImage):
        retriever.search_image(b"not an image")
    with pytest.raises(InvalidRequest, match="rerank"):
        retriever.search_text("x", rerank="best")


def test_unknown_findings_and_studies_are_refused_before_the_model_runs(retriever, monkeypatch):
    def run(*_):
        raise AssertionError("the model ran")

    monkeypatch.setattr(retriever.encoder, "encode_texts", run)
    with pytest.raises(UnknownFinding):
        retriever.search_text("x", filters=Filters(none=("Plural Effusion",)))
    with pytest.raises(UnknownStudy):
        retriever.search(Query(text="x", like=(Case(study_id="nobody"),)))
    with pytest.raises(AssertionError, match="the model ran"):
        retriever.search_text("x")


def test_a_study_comes_with_its_images_labels_and_report(retriever):
    study = retriever.study("3")
    assert [image.view for image in study.images] == ["frontal", "lateral"]
    assert study.uncertain == ["Cardiomegaly"]
    assert study.present == ["Nodule", "Lung Lesion"]
    assert study.report["findings"] == "Nodule right."


def test_a_collection_of_another_bundle_is_refused(tiny_home):
    write_tiny_bundle(tiny_home / "models", "tiny-a", seed=99)
    with pytest.raises(BundleMismatch, match="--recreate"):
        open_retriever("tiny-a", device="cpu")


def test_models_without_bundle_or_collection_are_refused(tiny_home):
    with pytest.raises(UnknownModel, match="tiny-a"):
        open_retriever("huge")
    write_tiny_bundle(tiny_home / "models", "tiny-c", seed=5)
    with pytest.raises(NoCollection, match="cxr_tiny-c"):
        open_retriever("tiny-c")


def test_a_failed_open_releases_the_index(tiny_home):
    with pytest.raises(UnknownModel):
        open_retriever("huge")
    with open_retriever("tiny-b", device="cpu") as retriever:
        assert retriever.model == "tiny-b"


def test_a_study_id_of_two_datasets_needs_the_dataset(tiny_home):
    with Catalog(RetrievalSettings(device="cpu")) as catalog:
        retriever = catalog.retriever()
        paths = {name: tiny_home / "archive" / f"{name}.csv" for name in ("reports", "projections")}
        other = IndianaSource(paths["reports"], paths["projections"], tiny_home / "archive" / "images", dataset="other")
        Worker(retriever.encoder, catalog.index).run(other)
        for ask in (retriever.study, retriever.search_similar):
            with pytest.raises(InvalidRequest, match="several datasets"):
                ask("1")
        assert retriever.study("1", dataset="other").dataset == "other"
        assert {hit.dataset for hit in retriever.search_similar("1", filters=Filters(dataset="other")).hits} == {
            "other"
        }
        found = retriever.search(Query(study=Case(study_id="1", dataset="other"), k=60)).hits
        assert {hit.dataset for hit in found if hit.study_id == "1"} == {"indiana"}


def test_a_retriever_uses_the_calibration_of_a_later_ingest(tiny_home):
    with Catalog(RetrievalSettings(device="cpu")) as catalog:
        known = catalog.retriever()
        meta = msgspec.structs.replace(known.collection.meta, calibration={"image/image": Scale(0.25, 0.75)})
        # As on a server, where each opening reads the record anew.
        stale = Retriever(known.encoder, Snapshot(known.collection))
        catalog._retrievers["tiny-a"] = stale
        known.collection.record(meta)
        assert catalog.retriever().collection.meta == meta


class Snapshot:
    """A collection with the record that it had when it was opened."""

    def __init__(self, collection):
        self.name, self.meta = collection.name, collection.meta
