"""The index interface, the same on every engine."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from httpx import Headers
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from retrieval.errors import IndexFailure, IndexUnreachable, NoCollection
from retrieval.index.filters import Filters
from retrieval.index.schema import Scale
from retrieval.index.search_request import OverlapSignal, SearchRequest, VectorSignal
from retrieval.index.server.index import ServerIndex
from retrieval.search.cases import find_examples, images_of
from retrieval.search.query import Case, Query
from tests.congruence.conftest import NAME, unit_vectors

QUERY = unit_vectors(1, seed=77)[0]
PLAIN = SearchRequest(signals=(VectorSignal("image", QUERY, 1.0),), limit=20)


def test_a_collection_has_its_bundle_and_its_count(index, collection, meta, points):
    assert index.collections() == {NAME: meta}
    assert index.open(NAME).meta == meta
    assert collection.count() == len(points)


def test_the_record_of_a_collection_can_be_replaced(index, collection, meta):
    calibrated = msgspec.structs.replace(meta, calibration={"image/image": Scale(0.1, 0.9)})
    collection.record(calibrated)
    assert index.collections()[NAME] == calibrated


def test_upserting_again_replaces_and_does_not_add(collection, points):
    changed = replace(points[0], payload=msgspec.structs.replace(points[0].payload, view="lateral"))
    collection.upsert([changed])
    assert collection.count() == len(points)
    assert collection.fetch([changed.point_id])[changed.point_id]["view"] == "lateral"


def test_fetch_gives_whole_payloads_of_the_points_that_exist(collection, points):
    found = collection.fetch([points[3].point_id, "00000000-0000-0000-0000-000000000000"])
    assert found == {points[3].point_id: msgspec.to_builtins(points[3].payload)}


def test_a_plain_search_is_exact_cosine_order(collection, points):
    cosines = np.stack([point.vectors["image"] for point in points]) @ QUERY
    by_id = {point.point_id: cosine for point, cosine in zip(points, cosines, strict=True)}
    hits = collection.search(PLAIN)
    # Vectors lie in half precision, so that near ties may swap.
    np.testing.assert_allclose([hit.score for hit in hits], np.sort(cosines)[::-1][:20], atol=2e-3)
    np.testing.assert_allclose([hit.score for hit in hits], [by_id[hit.point_id] for hit in hits], atol=2e-3)
    assert hits[0].cosines == {"image": hits[0].score}


def test_scroll_returns_the_vectors_that_a_point_has(collection, points):
    by_id = {point.point_id: point for point in points}
    for stored in collection.scroll(limit=50, vectors=("image", "findings")):
        expected = by_id[stored.point_id].vectors
        assert stored.vectors.keys() == {"image", "findings"} & expected.keys()
        np.testing.assert_allclose(stored.vectors["image"], expected["image"], atol=2e-3)


def test_facets_count_points_most_frequent_first(collection, points):
    facet = collection.facet("present")
    for finding, count in facet.items():
        assert count == sum(finding in point.payload.present for point in points)
    assert list(facet.values()) == sorted(facet.values(), reverse=True)
    frontal = collection.facet("present", Filters(view="frontal"))
    assert frontal["Nodule"] == sum(p.payload.view == "frontal" and "Nodule" in p.payload.present for p in points)


def test_the_alias_moves_in_one_step(index, collection):
    assert index.active() is None
    index.activate(NAME)
    assert index.active() == NAME
    index.activate(NAME)
    with pytest.raises(NoCollection, match="cxr_other"):
        index.activate("cxr_other")
    assert index.active() == NAME


def test_a_dropped_collection_is_gone_with_its_alias(index, collection):
    index.activate(NAME)
    index.drop(NAME)
    assert index.collections() == {}
    assert index.active() is None
    with pytest.raises(NoCollection):
        index.open(NAME)


def test_a_collection_is_not_made_twice(index, collection, meta):
    with pytest.raises(IndexFailure, match="already exists"):
        index.create(meta, name=NAME, layout=meta.layout)


def reference(points, request):
    """The five signals summed in Python: slow and obvious."""
    first = request.signals[0]
    pool = sorted(points, key=lambda point: -float(point.vectors[first.name] @ first.query))[: request.candidates]
    scores = {}
    for point in pool:
        score = 0.0
        for signal in request.signals:
            cosine = float(point.vectors[signal.name] @ signal.query) if signal.name in point.vectors else signal.zero
            score += signal.weight * (cosine - signal.zero) / (signal.one - signal.zero)
        for overlap in request.overlaps:
            held = getattr(point.payload, overlap.name)
            score += overlap.weight * sum(value in held for value in overlap.values) / len(overlap.values)
        scores[point.point_id] = score
    return scores


@pytest.mark.parametrize("seed", range(6))
def test_five_signals_are_summed_as_a_python_reference_sums_them(collection, points, seed):
    queries = unit_vectors(3, seed=100 + seed)
    request = SearchRequest(
        signals=(
            VectorSignal("image", queries[0], 0.30, zero=0.02, one=0.5),
            VectorSignal("findings", queries[1], 0.25, zero=-0.1, one=0.7),
            VectorSignal("impression", queries[2], 0.20, zero=0.3, one=0.6),
        ),
        overlaps=(
            OverlapSignal("mesh", ("Nodule", "Nodule/left", "Cardiomegaly"), 0.15),
            OverlapSignal("problems", ("normal",), 0.10),
        ),
        limit=10,
        candidates=40,
    )
    expected = reference(points, request)
    hits = collection.search(request)
    assert len(hits) == 10
    for hit in hits:
        assert hit.score == pytest.approx(expected[hit.point_id], abs=1e-2)
    tenth = sorted(expected.values(), reverse=True)[9]
    assert all(expected[hit.point_id] > tenth - 2e-2 for hit in hits)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_a_failing_client_raises_retrieval_errors():
    class Gone:
        def get_collections(self):
            raise ResponseHandlingException(ConnectionError("refused"))

        def get_aliases(self):
            raise UnexpectedResponse(403, "Forbidden", b"", Headers())

    index = ServerIndex(Gone(), "http://nowhere")
    with pytest.raises(IndexUnreachable, match="nowhere"):
        index.collections()
    with pytest.raises(IndexFailure, match="403"):
        index.active()


def test_a_collection_opened_again_has_the_new_record(index, collection, meta):
    calibrated = msgspec.structs.replace(meta, calibration={"image/image": Scale(0.1, 0.9)})
    collection.record(calibrated)
    assert index.open(NAME).meta == calibrated


def test_facets_count_every_value(collection, points):
    many = [
        replace(
            point,
            payload=msgspec.structs.replace(point.payload, mesh=[f"term {number} {n}" for n in range(5)]),
        )
        for number, point in enumerate(points)
    ]
    assert len(many) * 5 > 500
    collection.upsert(many)
    assert sum(collection.facet("mesh").values()) == len(collection.facet("mesh")) == len(many) * 5


def test_all_images_of_a_large_study_are_found(collection, points):
    one = [replace(each, payload=msgspec.structs.replace(each.payload, study_id="1", dataset="d")) for each in points]
    collection.upsert(one)
    assert len(images_of(collection, Case(study_id="1"))) == len(points) > 100
    examples = find_examples(collection, Query(study=Case(study_id="1")))
    assert set(examples.exclude) == {point.point_id for point in points}
    (liked,) = examples.like
    assert liked.payload["view"] == "frontal"
    assert (
        collection.search(
            SearchRequest(signals=(VectorSignal("image", liked.point_id, 1.0),), exclude=examples.exclude)
        )
        == []
    )
