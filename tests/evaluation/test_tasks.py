"""Every task of the protocol: a random encoder reaches chance, a perfect one reaches 1, and splits do not mix."""

from collections import defaultdict
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from evaluation.corpus import Corpus
from evaluation.evaluate import all_tasks, measure_corpus, model_scorer
from evaluation.intervals import bootstrap_test, randomisation_test
from evaluation.results import TaskResult
from evaluation.scoring import judge
from evaluation.tasks import HEADLINES, image_to_image, pair_tasks
from tests.evaluation.corpora import (
    FINDINGS,
    PROTOCOL,
    Bundle,
    Prompted,
    make_images,
    perfect_corpus,
    random_corpus,
    unit,
)

TASKS = (
    "image_to_report_strict",
    "image_to_report_grouped",
    "image_to_report_distinct",
    "report_to_image_strict",
    "report_to_image_grouped",
    "image_to_image",
    "text_to_image",
)


@pytest.fixture(scope="module")
def results_of_random_encoders() -> list[list[TaskResult]]:
    """The results of all tasks for each of 30 random encoders."""
    random = (random_corpus(100, seed) for seed in range(30))
    return [measure_corpus(encoder, corpus, PROTOCOL, with_baselines=False) for corpus, encoder in random]


def test_a_random_encoder_lands_on_chance_within_its_interval_in_every_task(
    results_of_random_encoders: list[list[TaskResult]],
) -> None:
    held = defaultdict(list)
    for results in results_of_random_encoders:
        for row in results:
            for name in ("R@10", "RR", "P@10", "AP"):
                if found := row.measures.get(name):
                    held[row.task, name].append(found.low <= found.chance <= found.high)
    assert {task for task, _ in held} == set(TASKS)
    # Of 30 intervals of 95 %, fewer than 23 hold the truth once in 10,000 times.
    assert {what: sum(each) for what, each in held.items() if sum(each) < 23} == {}


def test_a_random_encoder_is_on_chance_in_the_mean(results_of_random_encoders: list[list[TaskResult]]) -> None:
    found = defaultdict(list)
    for results in results_of_random_encoders:
        for row in results:
            for name, estimate in row.measures.items():
                found[row.task, name].append((estimate.value, estimate.chance))
    for what, pairs in found.items():
        values, chance = np.array(pairs).T
        error = values.std(ddof=1) / np.sqrt(len(values))
        assert abs(values.mean() - chance.mean()) < 4 * error + 1e-3, what


def test_a_perfect_encoder_reaches_one_in_every_task() -> None:
    corpus, encoder = perfect_corpus(200)
    rows = {row.task: row.measures for row in measure_corpus(encoder, corpus, PROTOCOL, with_baselines=False)}
    assert set(rows) == set(TASKS)
    for task, measures in rows.items():
        for name, estimate in measures.items():
            assert (estimate.value, estimate.low, estimate.high) == (1.0, 1.0, 1.0), (task, name)
            assert estimate.chance < 1


def test_the_random_baseline_needs_no_model_and_lands_on_chance() -> None:
    corpus, encoder = perfect_corpus(80)
    rows = [row for row in measure_corpus(encoder, corpus, PROTOCOL) if row.system == "random"]
    assert {row.task for row in rows} == set(TASKS)
    for row in rows:
        estimate = row.measures[HEADLINES.get(row.task, "R@10")]
        assert abs(estimate.value - estimate.chance) < 0.12, row.task


def split_corpora() -> tuple[Corpus, Corpus, Prompted]:
    """One collection cut in two by study, two images a study."""
    whole = make_images(60, views=2)
    rng = np.random.default_rng(0)
    vectors = unit(rng.standard_normal((len(whole), 16)))
    sides = []
    for parity in (0, 1):
        kept = [n for n, image in enumerate(whole) if int(image.study.removeprefix("d/")) // 5 % 2 == parity]
        sides.append(Corpus(tuple(whole[n] for n in kept), vectors[kept], vectors[kept], "indexing"))
    return *sides, Prompted(unit(rng.standard_normal((5, 16))))


@pytest.mark.parametrize("name", TASKS)
def test_splits_never_share_a_study_in_any_task(name: str) -> None:
    seen = []
    for corpus in split_corpora()[:2]:
        task = next(task for task in all_tasks(corpus, PROTOCOL) if task.name == name)
        asked = {corpus.studies[row] for row in task.rows} if task.query_kind != "prompt" else set()
        shown = {corpus.studies[column] for column in task.columns}
        assert shown <= set(corpus.studies) and asked <= set(corpus.studies)
        seen.append(asked | shown)
    assert len(seen[0]) == len(seen[1]) == 30
    assert not seen[0] & seen[1]


def test_the_study_of_the_query_is_never_a_hit_from_image_to_image() -> None:
    corpus, _, encoder = split_corpora()
    task = image_to_image(corpus, PROTOCOL)
    judged = judge(task, model_scorer(task, corpus, encoder), depth=1000)
    for number, order in zip(judged.numbers, judged.order, strict=True):
        own = corpus.studies[task.rows[number]]
        assert len(order) == len(corpus.images) - 2
        assert own not in {corpus.studies[task.columns[column]] for column in order}


def test_a_copy_of_the_query_in_another_study_is_excluded() -> None:
    images = list(make_images(60))
    images[5] = replace(images[5], sha256=images[0].sha256)  # both have the finding 0
    rng = np.random.default_rng(0)
    vectors = unit(rng.standard_normal((60, 16)))
    corpus = Corpus(tuple(images), vectors, vectors, "indexing")
    task = image_to_image(corpus, PROTOCOL)
    left_out = task.left_out(np.array([list(task.rows).index(0)]))[0]
    assert np.flatnonzero(left_out).tolist() == [0, 5]


def test_ties_break_on_the_id() -> None:
    images = make_images(20)
    same = unit(np.ones((20, 4)))
    corpus = Corpus(images, same, same, "indexing")
    task = pair_tasks(corpus, PROTOCOL)[0]
    judged = judge(task, model_scorer(task, corpus, Prompted(same)), depth=1000)
    assert all(order.tolist() == list(range(20)) for order in judged.order)
    assert judged.values["RR"].tolist() == pytest.approx([1 / rank for rank in range(1, 21)])


def test_equal_reports_are_all_relevant_in_the_grouped_task_and_unique_in_the_distinct_task() -> None:
    images = make_images(60, groups=12)
    rng = np.random.default_rng(0)
    vectors = unit(rng.standard_normal((60, 16)))
    corpus = Corpus(images, vectors, vectors, "indexing")
    strict, grouped, distinct = pair_tasks(corpus, PROTOCOL)[:3]
    everything = np.arange(60)
    assert strict.relevant(everything).sum(axis=1).tolist() == [1] * 60
    assert grouped.relevant(everything).sum(axis=1).tolist() == [5] * 60
    assert len(distinct.columns) == 12
    assert distinct.relevant(everything).sum(axis=1).tolist() == [1] * 60


def test_images_without_a_report_are_in_no_pair() -> None:
    images = make_images(40)
    vectors = unit(np.random.default_rng(0).standard_normal((40, 8)))
    reports = vectors.copy()
    reports[::2] = np.nan
    for task in pair_tasks(Corpus(images, vectors, reports, "indexing"), PROTOCOL):
        assert set(task.rows) <= set(range(1, 40, 2))
        assert set(task.columns) <= set(range(1, 40, 2))


def test_a_rare_finding_is_not_evaluated_and_normal_is_not_in_the_headline() -> None:
    images = [replace(image, findings=frozenset([FINDINGS[n % 5]])) for n, image in enumerate(make_images(50))]
    images[:4] = [replace(image, findings=frozenset(["Fracture"])) for image in images[:4]]
    vectors = unit(np.random.default_rng(0).standard_normal((50, 8)))
    corpus = Corpus(tuple(images), vectors, vectors, "indexing")
    row = next(
        row
        for row in measure_corpus(Prompted(vectors[:5]), corpus, PROTOCOL, with_baselines=False)
        if row.task == "image_to_image"
    )
    assert "Fracture" not in row.by_finding and "No Finding" in row.by_finding
    assert (row.measures["P@10"].findings, row.measures["P@10 with normal"].findings) == (4, 5)


def test_a_model_without_a_text_tower_has_only_the_image_task() -> None:
    corpus, encoder = perfect_corpus(40)
    rows = measure_corpus(replace(encoder, bundle=Bundle(has_text=False)), corpus, PROTOCOL, with_baselines=False)
    assert [row.task for row in rows] == ["image_to_image"]


def test_a_limit_takes_the_same_queries_each_time() -> None:
    corpus, encoder = random_corpus(100, 0)
    few = msgspec.structs.replace(PROTOCOL, queries=10)
    first, second = (measure_corpus(encoder, corpus, few, with_baselines=False) for _ in range(2))
    assert first == second
    assert {row.task: row.queries for row in first} == {
        **dict.fromkeys(TASKS[:5], 10),
        "image_to_image": 50,
        "text_to_image": 5,
    }
    with_another_seed = msgspec.structs.replace(few, seed=1)
    assert measure_corpus(encoder, corpus, with_another_seed, with_baselines=False)[0].units != first[0].units


def test_values_of_units_add_up_to_the_headline_and_draws_lie_about_it() -> None:
    corpus, encoder = random_corpus(100, 0)
    for row in measure_corpus(encoder, corpus, PROTOCOL, with_baselines=False):
        if row.task not in HEADLINES:
            continue
        estimate = row.measures[HEADLINES[row.task]]
        if row.task.startswith("image_to_report"):
            assert len(set(row.units)) == 100
            assert sum(row.values) == pytest.approx(estimate.value, abs=1e-6)
        if row.task.endswith("to_image") and not row.task.startswith("report"):
            assert len(row.draws) == PROTOCOL.resamples
            assert min(row.draws) <= estimate.low < estimate.high <= max(row.draws)


def test_two_random_encoders_rarely_differ_significantly() -> None:
    told_apart = defaultdict(list)
    few = msgspec.structs.replace(PROTOCOL, resamples=100)
    for seed in range(40):
        pairs = []
        for side in (0, 1):
            corpus, encoder = random_corpus(100, 2 * seed + side)
            pairs.append({row.task: row for row in measure_corpus(encoder, corpus, few, with_baselines=False)})
        for task, measure in HEADLINES.items():
            one, other = pairs[0][task], pairs[1][task]
            if one.draws:
                difference = one.measures[measure].value - other.measures[measure].value
                p = bootstrap_test(difference, np.array(one.draws) - np.array(other.draws))[0]
            else:
                p = randomisation_test(np.array(one.values) - np.array(other.values), resamples=400)[0]
            told_apart[task].append(p < 0.05)
    assert set(told_apart) == set(HEADLINES)
    # Of 40 tests at 5 %, more than 7 reject once in 400 times.
    assert {task: sum(each) for task, each in told_apart.items() if sum(each) > 7} == {}
