"""Queries of every form: their meaning, and the same order as a Python reference."""

import itertools

import msgspec
import numpy as np
import pytest

from retrieval import Filters
from retrieval.errors import InvalidRequest, UnknownStudy
from retrieval.index.schema import DENSE_VECTORS, Scale
from retrieval.search.calibration import PERCENTILES
from retrieval.search.query import LIMIT_BATCH, Case, Query
from retrieval.search.rerank import PRESETS, WEIGHTS

TEXT = "pleural effusion left"


def stored_points(retriever):
    return list(retriever.collection.scroll(limit=None, vectors=DENSE_VECTORS))


def case(study_id, image_id=None):
    return Case(study_id=study_id, image_id=image_id)


SHAPES = {
    "text": Query(text=TEXT),
    "study": Query(study=case("1")),
    "liked": Query(like=(case("1"), case("2"))),
    "judged": Query(text=TEXT, like=(case("3"),), unlike=(case("4"), case("5"))),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("match", ["dense", "bm25", "hybrid"])
@pytest.mark.parametrize("rerank", [*PRESETS, "none", {"image": 2.0, "mesh": 1.0}])
def test_parts_add_up_to_the_score_in_every_mode(retriever, shape, match, rerank):
    query = msgspec.structs.replace(SHAPES[shape], match=match, rerank=rerank, k=20)
    if match != "dense" and query.text is None:
        with pytest.raises(InvalidRequest, match="give a text"):
            retriever.search(query)
        return
    result = retriever.search(query)
    assert result.hits
    for hit in result.hits:
        assert sum(hit.parts.values()) == pytest.approx(hit.score, abs=4e-3)
    scores = [hit.score for hit in result.hits]
    assert scores == sorted(scores, reverse=True)


def test_text_and_image_together_score_as_the_mean_of_both(retriever, image):
    both = retriever.search(Query(text=TEXT, image=image, rerank="none", k=24))
    text = {hit.image_id: hit.score for hit in retriever.search(Query(text=TEXT, rerank="none", k=24)).hits}
    alone = {hit.image_id: hit.score for hit in retriever.search(Query(image=image, rerank="none", k=24)).hits}
    for hit in both.hits:
        assert hit.score == pytest.approx((text[hit.image_id] + alone[hit.image_id]) / 2, abs=2e-3)


def test_disliked_cases_lower_the_scores_of_similar_ones(retriever):
    plain = retriever.search(Query(text=TEXT, rerank="none", k=24)).hits
    disliked = plain[0].study_id
    judged = retriever.search(Query(text=TEXT, unlike=(case(disliked),), rerank="none", k=24)).hits
    assert disliked not in {hit.study_id for hit in judged}
    points = {point.payload["image_id"]: point.vectors["image"] for point in stored_points(retriever)}
    bad = next(points[hit.image_id] for hit in plain if hit.study_id == disliked and hit.view == "frontal")
    wanted = {hit.image_id: hit.score - float(points[hit.image_id] @ bad) / 3 for hit in plain}
    for hit in judged:
        assert hit.score == pytest.approx(wanted[hit.image_id], abs=3e-3)


def test_several_disliked_cases_have_the_weight_of_one(retriever):
    plain = retriever.search(Query(text=TEXT, rerank="none", k=24)).hits
    disliked = list(dict.fromkeys(hit.study_id for hit in plain))[-6:]
    judged = retriever.search(Query(text=TEXT, unlike=tuple(map(case, disliked)), rerank="none", k=24)).hits
    points = {point.payload["image_id"]: point for point in stored_points(retriever)}
    frontal = {p.payload["study_id"]: p.vectors["image"] for p in points.values() if p.payload["view"] == "frontal"}
    mean = np.mean([frontal[study_id] for study_id in disliked], axis=0)
    scores = {hit.image_id: hit.score for hit in plain}
    for hit in judged:
        against = float(points[hit.image_id].vectors["image"] @ mean / np.linalg.norm(mean))
        assert hit.score == pytest.approx(scores[hit.image_id] - against / 3, abs=3e-3)
    signals = retriever.search(Query(text=TEXT, unlike=tuple(map(case, disliked)), k=24)).hits
    assert signals
    for hit in signals:
        assert sum(hit.parts.values()) == pytest.approx(hit.score, abs=1e-4)
        assert all(-4 / 3 <= hit.signals[name] <= 4 / 3 for name in ("image", "findings") if name in hit.signals)


def test_an_image_of_a_study_can_be_chosen(retriever):
    frontal, lateral = (
        retriever.search(Query(study=case("1", f"1_{view}.png"), rerank="none", k=24))
        for view in ("Frontal", "Lateral")
    )
    assert [hit.score for hit in frontal.hits] != [hit.score for hit in lateral.hits]
    with pytest.raises(UnknownStudy, match=r"no image 'x.png' in the study '1'"):
        retriever.search(Query(study=case("1", "x.png")))


def test_a_study_is_left_out_of_its_own_dataset_only(retriever):
    found = retriever.search(Query(study=case("1"), k=50))
    assert "1" not in {hit.study_id for hit in found.hits}
    assert "exclude_studies" not in found.interpreted["filters"]


def test_the_reported_number_of_candidates_is_the_one_used(retriever):
    assert retriever.search(Query(text=TEXT, candidates=1, k=5)).interpreted["candidates"] == 5


def test_interpretation_can_be_switched_off(retriever):
    text = "pleural effusion, no cardiomegaly"
    read = retriever.search(Query(text=text, k=24))
    assert (read.interpreted["denied"], read.interpreted["filters"]) == (["Cardiomegaly"], {"none": ["Cardiomegaly"]})
    literal = retriever.search(Query(text=text, k=24, interpret=False))
    assert literal.interpreted["filters"] == {}
    assert "denied" not in literal.interpreted
    assert any("Cardiomegaly" in hit.present for hit in literal.hits)


def test_percentiles_rank_a_cosine_among_unrelated_pairs(retriever):
    quantiles = tuple(float(value) for value in np.linspace(-1, 1, len(PERCENTILES)))
    calibrated = {f"text/{name}": Scale(0.0, 1.0, quantiles) for name in DENSE_VECTORS}
    meta = retriever.collection.meta
    retriever.collection.record(msgspec.structs.replace(meta, calibration=calibrated))
    hits = retriever.search(Query(text=TEXT, k=24)).hits
    judged = retriever.search(Query(text=TEXT, like=(case("1"),), k=3)).hits
    retriever.collection.record(meta)
    for hit in hits:
        for name, share in hit.percentiles.items():
            assert share == pytest.approx(np.interp(hit.signals[name], quantiles, PERCENTILES), abs=0.01)
    assert len({hit.percentiles["image"] for hit in hits}) > 3
    assert all("image" not in hit.percentiles for hit in judged)


def test_facets_count_images_that_match_the_filters(retriever):
    filters = Filters(view="frontal")
    result = retriever.search(Query(text=TEXT, filters=filters, facets=("present", "view"), k=1))
    assert result.facets["view"] == {"frontal": result.facets["view"]["frontal"]}
    frontal = [p.payload for p in stored_points(retriever) if p.payload["view"] == "frontal"]
    for finding, count in result.facets["present"].items():
        assert count == sum(finding in payload["present"] for payload in frontal)
    assert "facets" in result.timings_ms
    assert "facets" not in retriever.search(Query(text=TEXT, k=1)).timings_ms


def test_collapse_keeps_the_best_hit_of_each_study_and_counts_the_rest(retriever):
    every = retriever.search(Query(text=TEXT, k=24)).hits
    shown = retriever.search(Query(text=TEXT, k=24, collapse="study")).hits
    groups = {}
    for hit in every:
        groups.setdefault(hit.study_id, []).append(hit.image_id)
    assert [(hit.image_id, hit.collapsed_count) for hit in shown] == [(ids[0], len(ids) - 1) for ids in groups.values()]


def words_of(hit):
    return hit.report["findings"] + hit.report["impression"]


def test_collapse_by_report_keeps_one_hit_per_group_of_equal_reports(retriever):
    every = retriever.search(Query(text=TEXT, k=24)).hits
    shown = retriever.search(Query(text=TEXT, k=24, collapse="report")).hits
    texts = [words_of(hit) for hit in shown if words_of(hit)]
    assert len(texts) == len(set(texts))
    assert set(texts) == {words_of(hit) for hit in every if words_of(hit)}
    silent = {hit.study_id for hit in every if not words_of(hit)}
    assert silent
    assert silent == {hit.study_id for hit in shown if not words_of(hit)}
    assert sum(1 + hit.collapsed_count for hit in shown) == len(every)


def reference(retriever, query):
    """The five signals of a text query summed in Python, then collapsed, then diversified: slow and obvious."""
    points = stored_points(retriever)
    vector = retriever.encoder.encode_texts([query.text])[0]
    calibration = retriever.collection.meta.calibration
    asked = retriever.search(msgspec.structs.replace(query, diversity=0.0, collapse="none", k=1)).interpreted["asked"]
    nearest = sorted(points, key=lambda point: (-float(point.vectors["image"] @ vector), point.point_id))
    weights = {name: weight for name, weight in WEIGHTS.items() if name in DENSE_VECTORS or asked}
    scores = {}
    for point in nearest[: query.candidates]:
        total = 0.0
        for name, weight in weights.items():
            if name in DENSE_VECTORS:
                scale = calibration.get(f"text/{name}", Scale(0.0, 1.0))
                cosine = float(point.vectors[name] @ vector) if name in point.vectors else scale.zero
                total += weight * (cosine - scale.zero) / (scale.one - scale.zero)
            else:
                total += weight * sum(term in point.payload[name] for term in asked) / len(asked)
        scores[point.point_id] = total / sum(weights.values())
    ordered = sorted((p for p in points if p.point_id in scores), key=lambda p: (-scores[p.point_id], p.point_id))
    shown = []
    for point in ordered:
        key = {"none": point.point_id, "study": point.payload["study_id"], "report": point.payload["report_group"]}
        own = key[query.collapse] or point.payload["study_id"]
        if own not in [each for each, _ in shown]:
            shown.append((own, point))
    left = [point for _, point in shown]
    low, high = (pick(scores[point.point_id] for point in left) for pick in (min, max))
    scale = calibration.get("image/image", Scale(0.0, 1.0))
    taken = []
    while left and len(taken) < query.k:

        def marginal(point):
            relevance = (scores[point.point_id] - low) / (high - low)
            cosines = [float(point.vectors["image"] @ other.vectors["image"]) for other in taken]
            similarity = [min(max((cosine - scale.zero) / (scale.one - scale.zero), 0), 1) for cosine in cosines]
            return (1 - query.diversity) * relevance - query.diversity * max(similarity, default=0.0)

        best = max(left, key=marginal)
        taken.append(best)
        left.remove(best)
    return [point.payload["image_id"] for point in taken]


@pytest.mark.parametrize(
    ("diversity", "collapse"), list(itertools.product([0.0, 0.3, 0.8], ["none", "study", "report"]))
)
def test_a_python_reference_gives_the_same_order(retriever, diversity, collapse):
    query = Query(text="left effusion, cardiomegaly", diversity=diversity, collapse=collapse, candidates=15, k=6)
    assert [hit.image_id for hit in retriever.search(query).hits] == reference(retriever, query)


def test_diversity_changes_the_order_and_not_the_best_hit(retriever):
    plain, diverse = (
        [hit.image_id for hit in retriever.search(Query(text=TEXT, k=6, diversity=share)).hits] for share in (0.0, 0.9)
    )
    assert plain[0] == diverse[0]
    assert plain != diverse


def test_a_batch_gives_each_query_its_own_answer(retriever, image):
    queries = [*SHAPES.values(), Query(image=image), Query(text="clear lungs", image=image, k=3)]
    together = retriever.search_batch(queries)
    for query, result in zip(queries, together, strict=True):
        alone = retriever.search(query)
        assert [hit.image_id for hit in result.hits] == [hit.image_id for hit in alone.hits]
        np.testing.assert_allclose([hit.score for hit in result.hits], [hit.score for hit in alone.hits], atol=1e-5)
    for count in (0, LIMIT_BATCH + 1):
        with pytest.raises(InvalidRequest, match="1 to 32 queries"):
            retriever.search_batch([Query(text=TEXT)] * count)
