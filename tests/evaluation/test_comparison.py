"""Comparisons refuse evaluations that are not comparable, and verdicts say no more than the results support."""

from __future__ import annotations

import re

import msgspec
import pytest

from evaluation.comparison import compare
from evaluation.evaluate import distributions, measure_corpus
from evaluation.report.markdown import render_evaluation, render_markdown
from evaluation.report.page import render_page
from evaluation.results import Build, Comparison, Evaluation, Resources, Times, read_evaluation
from retrieval.errors import InvalidRequest
from tests.evaluation.corpora import PROTOCOL, Bundle, Prompted, perfect_corpus, random_corpus


def evaluation(
    kind: str, name: str, *, ms: float = 10.0, seed: int = 0, studies: int = 200, has_text: bool = True
) -> Evaluation:
    """A model that knows everything or nothing, on the same data."""
    perfect, knows = perfect_corpus(studies)
    if kind == "perfect":
        corpus, encoder = perfect, knows
    else:
        noise, encoder = random_corpus(studies, seed)
        corpus = type(perfect)(perfect.images, noise.vectors, noise.reports, perfect.judged_by)
    times = Times(p50_ms=ms, p95_ms=2 * ms, n=30)
    return Evaluation(
        model=name,
        bundle_id=f"bundle-of-{name}",
        source="tests",
        precision="fp32",
        dim=corpus.vectors.shape[1],
        protocol=PROTOCOL,
        data=corpus.describe(studies),
        versions={"ir-measures": "1"},
        machine="tests",
        measured_at="2026-01-01T00:00:00+00:00",
        results=measure_corpus(Prompted(encoder.vectors, Bundle(name, has_text)), corpus, PROTOCOL),
        distributions=distributions(corpus, 0),
        resources=Resources(
            device="cpu", threads=2, encode_image=times, encode_text=times, query=times, query_reranked=times,
            index_bytes=5_000_000, bundle_bytes=9_000_000, peak_memory_bytes=300_000_000,
            build=Build(images=100, seconds=50.0),
        ),
    )  # fmt: skip


@pytest.fixture(scope="module")
def perfect() -> Evaluation:
    return evaluation("perfect", "sage", ms=30.0)


@pytest.fixture(scope="module")
def random() -> Evaluation:
    return evaluation("random", "dice", ms=10.0)


@pytest.fixture(scope="module")
def comparison(perfect: Evaluation, random: Evaluation) -> Comparison:
    return compare([random, perfect])


def test_a_better_model_is_shown_to_be_better_in_every_headline_measure(comparison):
    assert [(test.better, test.worse, test.is_shown) for test in comparison.tests] == [("sage", "dice", True)] * 4
    for test in comparison.tests:
        assert 0 < test.low <= test.difference <= test.high
        assert test.p <= test.p_corrected < 0.05


def test_the_verdict_names_the_best_the_fastest_and_the_balanced_model_and_those_at_chance(comparison):
    text = comparison.verdict
    assert text[0].startswith("Best accuracy: sage, with 1.000 [1.000, 1.000]")
    assert "p < 0.0001" in text[0] and "after correction for 4 comparisons" in text[0]
    assert any(line.startswith("Finding the report of an image: sage") for line in text)
    assert any(
        line.startswith("Fastest: dice; ") and "dice 20.0 / 40.0 ms, sage 60.0 / 120.0 ms" in line for line in text
    )
    assert "Balanced: sage; the faster models are shown to be less accurate." in text
    assert any(line.startswith("dice is not shown to be better than chance") for line in text)


def test_the_verdict_states_the_gain_of_fine_tuning_and_warns_without_a_split(perfect, random):
    text = compare([random, perfect], fine_tuned=["sage"]).verdict
    assert any(line.startswith("Fine-tuned: sage (1.000") and "fine-tuning helped" in line for line in text)
    assert any(line.startswith("sage may have been trained on studies that are evaluated here") for line in text)
    text = compare([random, perfect], fine_tuned=["dice"]).verdict
    assert any(line.startswith("Fine-tuned: dice") and "fine-tuning made it worse" in line for line in text)
    with pytest.raises(InvalidRequest, match="nobody is not one of the compared models"):
        compare([random, perfect], fine_tuned=["nobody"])


def test_for_equal_models_the_verdict_says_so_and_recommends_the_faster():
    one, other = evaluation("random", "dice", ms=30.0), evaluation("random", "coin", ms=10.0, seed=1)
    comparison = compare([one, other])
    assert not any(test.is_shown for test in comparison.tests)
    assert "no difference shown" in comparison.verdict[0]
    best = comparison.tests[2].better
    wanted = f"Balanced: coin, the fastest model that is not shown to be less accurate than {best}."
    if best == "coin":
        wanted = "Balanced: coin; no other model is shown to be faster."
    assert wanted in comparison.verdict


def test_overlapping_times_show_no_difference(perfect):
    text = compare([perfect, evaluation("random", "dice", ms=20.0)]).verdict
    assert any(line.startswith("Fastest: no difference shown between dice and sage;") for line in text)
    assert "Balanced: sage; no other model is shown to be faster." in text


def test_p_values_are_corrected_for_all_pairs_of_models(perfect, random):
    third = evaluation("random", "coin", seed=1)
    tests = compare([perfect, random, third]).tests
    assert len(tests) == 12
    assert all(test.p_corrected >= test.p for test in tests)
    pairs = [test for test in tests if test.method == "randomisation" and test.p == 0.0001]
    assert len(pairs) == 4  # no more extreme sum in 10,000, for either model against the perfect one, both ways
    assert all(test.p_corrected >= 0.0008 for test in pairs)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda each: {"protocol": msgspec.structs.replace(each.protocol, view=None)},
            "protocol differs .view: 'frontal'",
        ),
        (lambda each: {"protocol": msgspec.structs.replace(each.protocol, split="val")}, "split: None and 'val'"),
        (lambda each: {"protocol": msgspec.structs.replace(each.protocol, judged_by="text")}, "judged_by"),
        (lambda each: {"data": msgspec.structs.replace(each.data, fingerprint="0")}, "data differs .fingerprint"),
        (lambda each: {"versions": {"ir-measures": "2"}}, "ir-measures 1 and 2"),
        (lambda each: {"model": "dice"}, "each once; found dice, dice"),
    ],
)
def test_evaluations_that_are_not_comparable_are_refused(perfect, random, change, text):
    with pytest.raises(InvalidRequest, match=text):
        compare([random, msgspec.structs.replace(perfect, **change(perfect))])


def test_a_comparison_needs_two_models(perfect):
    with pytest.raises(InvalidRequest, match="two or more"):
        compare([perfect])


def test_an_evaluation_read_from_its_file_gives_the_same_comparison(perfect, random, comparison):
    read = [read_evaluation(msgspec.json.encode(each), "x.json") for each in (random, perfect)]
    assert msgspec.json.encode(compare(read)) == msgspec.json.encode(comparison)
    with pytest.raises(InvalidRequest, match=r"x\.json is not an evaluation"):
        read_evaluation(b'{"format": 2}', "x.json")


def test_markdown_has_the_summary_table_with_measured_values(comparison):
    text = render_markdown(comparison)
    lines = text.splitlines()
    heading = next(line for line in lines if line.startswith("| Model | Recall@1 |"))
    assert (
        heading
        == "| Model | Recall@1 | Recall@5 | Recall@10 | MRR | mAP | P@10 | Query | Index | Memory | VRAM | Build |"
    )
    row = next(line for line in lines[lines.index(heading) :] if line.startswith("| sage |"))
    assert row == (
        "| sage | 1.000 [1.000, 1.000] | 1.000 [1.000, 1.000] | 1.000 [1.000, 1.000] | 1.000 [1.000, 1.000] "
        "| 1.000 [1.000, 1.000] | 1.000 [1.000, 1.000] | 30.0 ms | 5.0 MB | 300.0 MB | no GPU | 50 s |"
    )
    assert "| chance | 0.005 | 0.025 | 0.050 |" in text
    for system in ("random", "BM25 on reports", "label filter only"):
        assert f"| {system} |" in text
    assert "bundle-of-sage" in text and comparison.evaluations[0].data.fingerprint in text
    assert "Not a medical device" in text


def test_a_model_without_a_text_tower_can_be_compared(perfect):
    blind = evaluation("random", "mute", has_text=False)
    comparison = compare([blind, perfect])
    assert [(test.task, test.better) for test in comparison.tests] == [("image_to_image", "sage")]
    text = render_markdown(comparison)
    table = text.split("## Image to report, strict")[1].split("##")[0]
    assert "| sage |" in table and "| mute |" not in table
    assert "| random |" in table and "| chance | 0.005 |" in table
    assert "| mute | – | – | – | – | 0." in text
    assert render_page(comparison, None).count("<svg") == 4


def test_a_missing_build_time_is_shown_as_not_recorded(perfect):
    without = msgspec.structs.replace(perfect, resources=msgspec.structs.replace(perfect.resources, build=None))
    assert "not recorded" in render_evaluation(without)


def test_the_page_is_self_contained_and_has_every_plot(comparison):
    page = render_page(comparison, None)
    assert page.count("<svg") == 4
    for title in ("Recall of exact pairs", "P@10 by finding", "Speed and accuracy", "Cosines of related"):
        assert f'aria-label="{title}' in page
    assert "default-src 'none'" in page
    for outside in ("<script", 'src="http', 'href="http', "url(http", "@import", "<link"):
        assert outside not in page
    # The ids of two plots differ.
    ids = [part.split('"')[0] for part in page.split(' id="')[1:]]
    assert len(ids) == len(set(ids))


def test_the_page_escapes_names_from_the_data(perfect, random):
    hostile = msgspec.structs.replace(perfect, source="x", model="<script>alert(1)</script>")
    hostile.results[:] = [
        msgspec.structs.replace(row, system=hostile.model) if row.system == "sage" else row for row in hostile.results
    ]
    try:
        page = render_page(compare([random, hostile]), None)
        assert "<script" not in page and "&lt;script&gt;" in page
    finally:
        hostile.results[:] = [
            msgspec.structs.replace(row, system="sage") if row.system == hostile.model else row
            for row in hostile.results
        ]


def test_the_markdown_report(comparison, snapshot):
    assert render_markdown(comparison) == snapshot


def test_the_page_without_its_plots(comparison, snapshot):
    assert re.sub(r"<svg.*?</svg>", "<svg/>", render_page(comparison, None), flags=re.DOTALL) == snapshot
