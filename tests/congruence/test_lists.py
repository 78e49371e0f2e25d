"""Origins of candidates: words, fused lists, liked and disliked examples; equal on every engine."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from retrieval.errors import UnknownStudy
from retrieval.index.filters import Filters
from retrieval.index.search_request import RRF_K, OverlapSignal, SearchRequest, VectorSignal, Words
from tests.congruence.conftest import unit_vectors

QUERIES = unit_vectors(6, seed=31)
IMAGE = VectorSignal("image", QUERIES[0], 1.0)
FINDINGS = VectorSignal("findings", QUERIES[1], 1.0)
WORDS = Words("heart nodule")


def test_words_find_the_reports_that_contain_them_rare_words_first(collection, points):
    hits = collection.search(SearchRequest(lists=(WORDS,), limit=len(points)))
    held = {point.point_id: set(point.text.split()) & {"heart", "nodule"} for point in points}
    assert {hit.point_id for hit in hits} == {key for key, words in held.items() if words}
    assert all(hit.score > 0 and hit.cosines == {"bm25": hit.score} for hit in hits)
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True)


def test_words_in_no_report_find_nothing(collection):
    assert collection.search(SearchRequest(lists=(Words("zebra"),))) == []
    assert collection.search(SearchRequest(lists=(Words("the of"),))) == []


def test_word_searches_apply_filters_and_exclusions(collection, points):
    filters = Filters(view="frontal")
    hits = collection.search(SearchRequest(lists=(WORDS,), filters=filters, limit=len(points)))
    assert hits
    assert {hit.payload["view"] for hit in hits} == {"frontal"}
    first = hits[0].point_id
    again = collection.search(SearchRequest(lists=(WORDS,), filters=filters, limit=len(points), exclude=(first,)))
    assert {hit.point_id for hit in hits} - {hit.point_id for hit in again} == {first}


def fused(collection, lists, depth):
    """Least and highest score of each point by reciprocal rank fusion: points that tie on a list may stand in any order."""
    lowest, highest = {}, {}
    for one in lists:
        hits = collection.search(SearchRequest(lists=(one,), limit=1000))
        for hit in hits:
            first = 1 + sum(other.score > hit.score + 1e-6 for other in hits)
            last = sum(other.score >= hit.score - 1e-6 for other in hits)
            lowest[hit.point_id] = lowest.get(hit.point_id, 0.0) + (last <= depth) / (RRF_K + last)
            highest[hit.point_id] = highest.get(hit.point_id, 0.0) + (first <= depth) / (RRF_K + first)
    return lowest, highest


@pytest.mark.parametrize("lists", [(IMAGE, WORDS), (IMAGE, FINDINGS, WORDS)])
def test_lists_are_fused_by_reciprocal_ranks(collection, lists):
    lowest, highest = fused(collection, lists, depth=40)
    hits = collection.search(SearchRequest(lists=lists, limit=10, candidates=40))
    assert len(hits) == 10
    for hit in hits:
        assert lowest[hit.point_id] - 1e-6 <= hit.score <= highest[hit.point_id] + 1e-6
        assert hit.score == pytest.approx(sum(1 / (RRF_K + rank) for rank in hit.ranks.values()))
    assert sorted(lowest.values(), reverse=True)[9] <= hits[-1].score <= sorted(highest.values(), reverse=True)[9]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_the_same_fused_candidates_are_found_each_time(collection):
    signals = (replace(IMAGE, weight=1.0, zero=0.0, one=1.0),)
    request = SearchRequest(signals=signals, lists=(IMAGE, FINDINGS), limit=15, candidates=15)
    found = {tuple(hit.point_id for hit in collection.search(request)) for _ in range(40)}
    assert len(found) == 1


def test_fused_candidates_are_reordered_by_the_signals(collection, points):
    lists = (IMAGE, WORDS)
    lowest, highest = fused(collection, lists, depth=20)
    cut = sorted(highest.values(), reverse=True)[19]
    signals = (replace(IMAGE, weight=0.6, zero=-0.2, one=0.6), replace(FINDINGS, weight=0.4, zero=0.1, one=0.5))
    hits = collection.search(SearchRequest(signals=signals, lists=lists, limit=20, candidates=20))
    expected = reference_scores(points, signals)
    assert {hit.point_id for hit in hits} >= {key for key, score in lowest.items() if score > cut}
    for hit in hits:
        assert highest[hit.point_id] > 0
        assert hit.score == pytest.approx(expected[hit.point_id], abs=1e-2)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def reference_scores(points, signals):
    """The signals summed in Python: mean cosine to liked vectors minus the sum to disliked ones over the number liked."""
    scores = {}
    for point in points:
        score = 0.0
        for signal in signals:
            value = signal.zero
            if signal.name in point.vectors:
                liked = sum(float(point.vectors[signal.name] @ vector) for vector in (signal.query, *signal.like))
                disliked = sum(float(point.vectors[signal.name] @ vector) for vector in signal.unlike)
                value = (liked - disliked) / (1 + len(signal.like))
            score += signal.weight * (value - signal.zero) / (signal.one - signal.zero)
        scores[point.point_id] = score
    return scores


LIKED = VectorSignal("image", QUERIES[0], 1.0, like=(QUERIES[1], QUERIES[2]), unlike=(QUERIES[3],))


def test_examples_order_by_the_sum_of_cosines(collection, points):
    expected = reference_scores(points, (LIKED,))
    hits = collection.search(SearchRequest(signals=(LIKED,), limit=15))
    order = sorted(expected.values(), reverse=True)[:15]
    np.testing.assert_allclose([hit.score for hit in hits], order, atol=4e-3)
    for hit in hits:
        assert hit.cosines == {"image": pytest.approx(hit.score, abs=1e-6)}


def test_examples_are_signals_among_others(collection, points):
    signals = (
        replace(LIKED, weight=0.5, zero=-0.1, one=0.4),
        VectorSignal("findings", QUERIES[4], 0.3, zero=0.05, one=0.6, unlike=(QUERIES[5],)),
    )
    request = SearchRequest(
        signals=signals, overlaps=(OverlapSignal("mesh", ("Nodule",), 0.2),), limit=12, candidates=50
    )
    expected = reference_scores(points, signals)
    held = {point.point_id: "Nodule" in point.payload.mesh for point in points}
    hits = collection.search(request)
    assert len(hits) == 12
    for hit in hits:
        assert hit.score == pytest.approx(expected[hit.point_id] + 0.2 * held[hit.point_id], abs=1.5e-2)


def test_hits_have_the_requested_vectors(collection, points):
    stored = {point.point_id: point.vectors["image"] for point in points}
    for request in (
        SearchRequest(signals=(IMAGE,)),
        SearchRequest(signals=(IMAGE, FINDINGS)),
        SearchRequest(lists=(IMAGE, WORDS)),
    ):
        for hit in collection.search(replace(request, vectors=("image",))):
            np.testing.assert_allclose(hit.vectors["image"], stored[hit.point_id], atol=2e-3)
        assert all(hit.vectors == {} for hit in collection.search(request))


def test_a_stored_point_in_a_query_gives_what_its_vectors_give(collection, points):
    stored = points[5]
    held = collection.retrieve([stored.point_id], vectors=("image", "findings", "impression"))[stored.point_id].vectors
    signals = tuple(VectorSignal(name, vector, 0.5, zero=0.1, one=0.6) for name, vector in held.items())
    examples = replace(signals[0], like=(QUERIES[1],), unlike=(QUERIES[3],))
    for request in (
        SearchRequest(signals=signals[:1]),
        SearchRequest(signals=signals),
        SearchRequest(signals=(examples, *signals[1:]), lists=(signals[0], WORDS)),
    ):
        request = replace(request, exclude=(stored.point_id,), limit=12, candidates=40)
        by_id = replace(
            request,
            signals=tuple(replace(each, query=stored.point_id) for each in request.signals),
            lists=tuple(replace(each, query=stored.point_id) if each is not WORDS else WORDS for each in request.lists),
        )
        expected, found = collection.search(request), collection.search(by_id)
        assert [hit.point_id for hit in found] == [hit.point_id for hit in expected]
        np.testing.assert_allclose([hit.score for hit in found], [hit.score for hit in expected], atol=2e-3)


def test_signals_of_a_vector_that_the_stored_point_lacks_are_left_out(collection, points):
    lacking = next(point for point in points if "findings" not in point.vectors)
    image = VectorSignal("image", lacking.point_id, 0.7, zero=0.1, one=0.6)
    findings = VectorSignal("findings", lacking.point_id, 0.3, zero=0.1, one=0.6)
    both = SearchRequest(signals=(image, findings), exclude=(lacking.point_id,))
    alone = replace(both, signals=(image,))
    assert [hit.point_id for hit in collection.search(both)] == [hit.point_id for hit in collection.search(alone)]


def test_a_stored_point_that_was_removed_is_refused(collection, points):
    gone = points[0].point_id
    collection.delete([gone])
    with pytest.raises(UnknownStudy, match="removed"):
        collection.search(SearchRequest(signals=(VectorSignal("image", gone, 1.0),)))


def test_where_scores_tie_at_a_cut_the_smallest_ids_are_taken(collection, points):
    """Forty images with one vector and one report: each list, the pool and the hits are cut among them."""
    same = [
        replace(
            point,
            vectors=dict.fromkeys(("image", "findings", "impression"), QUERIES[0]),
            text="heart nodule zebra",
            payload=msgspec.structs.replace(point.payload, mesh=[], problems=[]),
        )
        for point in points[20:60]
    ]
    collection.upsert(same)
    smallest = sorted(point.point_id for point in same)
    signals = (replace(IMAGE, zero=-0.2, weight=0.5), replace(FINDINGS, query=QUERIES[0], weight=0.5))
    requests = [
        SearchRequest(signals=(IMAGE,)),
        SearchRequest(signals=signals, candidates=12),
        SearchRequest(signals=signals, candidates=40),
    ]
    if collection.meta.layout.shards == 1:  # the weight of a word depends on the shard
        requests += [
            SearchRequest(lists=(Words("zebra"),)),
            SearchRequest(lists=(IMAGE, Words("zebra")), candidates=10),
            SearchRequest(signals=signals, lists=(IMAGE, Words("zebra")), candidates=20),
        ]
    for request in requests:
        hits = collection.search(replace(request, limit=7))
        assert [hit.point_id for hit in hits] == smallest[:7]
