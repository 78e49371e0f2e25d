import numpy as np
import pytest

from retrieval.index.edge.index import EdgeIndex
from retrieval.index.schema import Scale
from retrieval.index.search_request import SearchRequest
from retrieval.search.calibration import calibrate
from retrieval.search.query_vectors import QueryVectors, VectorExamples
from retrieval.search.rerank import plan
from tests.congruence.conftest import DIM, META, NAME, make_points, unit_vectors

VECTOR = np.ones(4, dtype=np.float32)


def test_signals_without_input_are_left_out_and_the_weights_of_the_others_rescaled():
    query = QueryVectors(
        vectors={"image": VectorExamples((("text", VECTOR),))}, terms={"mesh": (), "problems": ("Nodule",)}
    )
    request = plan(query, {}, SearchRequest(()))
    assert [(signal.name, signal.weight) for signal in request.signals] == [("image", pytest.approx(0.75))]
    assert [(overlap.name, overlap.weight) for overlap in request.overlaps] == [("problems", pytest.approx(0.25))]


def test_the_scale_follows_the_kind_of_query():
    calibration = {"text/image": Scale(0.1, 0.3), "image/image": Scale(0.6, 0.9)}
    by_text = plan(QueryVectors({"image": VectorExamples((("text", VECTOR),))}, {}), calibration, SearchRequest(()))
    by_image = plan(QueryVectors({"image": VectorExamples((("image", VECTOR),))}, {}), calibration, SearchRequest(()))
    assert (by_text.signals[0].zero, by_text.signals[0].one) == (0.1, 0.3)
    assert (by_image.signals[0].zero, by_image.signals[0].one) == (0.6, 0.9)


def test_calibration_finds_the_scale_of_random_vectors(tmp_path):
    index = EdgeIndex(tmp_path)
    collection = index.create(META, name=NAME)
    collection.upsert(make_points(300))
    scales = calibrate(collection)
    assert set(scales) == {
        "image/image", "image/findings", "image/impression", "text/image", "text/findings", "text/impression",
    }  # fmt: skip
    for scale in scales.values():
        assert scale.zero == pytest.approx(0, abs=0.03)
        # The 99.5th percentile of the cosine of random unit vectors in D dimensions is about 2.58 / sqrt(D).
        assert scale.one == pytest.approx(2.58 / np.sqrt(DIM), rel=0.1)
    index.close()


def test_a_collection_without_variety_has_no_scale(tmp_path):
    index = EdgeIndex(tmp_path)
    collection = index.create(META, name=NAME)
    assert calibrate(collection) == {}
    same = unit_vectors(1, 0)[0]
    points = make_points(20)
    for point in points:
        point.vectors.clear()
        point.vectors["image"] = same
    collection.upsert(points)
    assert calibrate(collection) == {}
    index.close()
