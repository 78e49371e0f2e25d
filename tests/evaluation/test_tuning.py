"""The evaluation reranks as the service does, and fitted weights are measured on other studies."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from evaluation.corpus import Corpus, read_collection
from evaluation.intervals import macro_mean
from evaluation.rerank_signals import rerank_scorer
from evaluation.results import Protocol
from evaluation.scoring import judge
from evaluation.tasks import Task, image_to_image
from evaluation.tuning import _candidates, best_shares, halves, tune
from retrieval.errors import InvalidRequest
from retrieval.index.edge.index import EdgeIndex
from retrieval.index.filters import Filters
from retrieval.index.interface import IndexPoint
from retrieval.index.schema import CollectionMeta, Payload, Scale
from retrieval.model.bundle import ModelBundle
from retrieval.model.encoder import Encoder
from retrieval.search.rerank import WEIGHTS
from retrieval.search.retriever import Retriever
from tests.cxr.command_runs import run
from tests.evaluation.corpora import FINDINGS, unit

SCALES = {
    "image/image": Scale(0.1, 0.9),
    "image/findings": Scale(-0.2, 0.4),
    "image/impression": Scale(0.0, 0.7),
}
EVEN = np.full(3, 1 / 3)


def test_the_rerank_of_stored_vectors_gives_the_order_of_the_service(tiny_home: Path):
    index = EdgeIndex(tiny_home / "index")
    collection = index.open("cxr_tiny-a")
    retriever = Retriever(Encoder(ModelBundle.load(tiny_home / "models" / "tiny-a"), device="cpu"), collection)
    corpus = read_collection(collection, view=None, vocabulary="chexpert")
    task = image_to_image(corpus, Protocol(view=None, smallest=1))
    judged = judge(task, rerank_scorer(task, corpus, collection.meta.calibration, WEIGHTS), 10)
    stored = {point.point_id: point.payload for point in collection.scroll(limit=None)}
    compared = 0
    for number, order in list(zip(judged.numbers, judged.order, strict=True))[::4]:
        payload = stored[corpus.images[task.rows[number]].id]
        file = tiny_home / "archive" / "images" / payload["image_id"]
        file = file if file.exists() else file.with_suffix(".png")
        others = Filters(exclude_studies=(payload["study_id"],))
        hits = retriever.search_image(file, filters=others, k=10).hits
        mine = [stored[corpus.images[column].id] for column in order]
        assert [hit.image_id for hit in hits] == [each["image_id"] for each in mine]
        compared += 1
    index.close()
    assert compared > 3


def corpus_with_informative_reports(seed: int, *, studies: int = 200, missing: float = 0.2) -> tuple[Corpus, Task]:
    """Images that know nothing of findings, findings vectors that know them, impressions that know nothing."""
    rng = np.random.default_rng(seed)
    from tests.evaluation.corpora import make_images

    finding = np.eye(5)[np.arange(studies) % 5]
    image = unit(np.hstack([finding, 4 * rng.standard_normal((studies, 12)) / 3.5]))
    known = unit(np.hstack([finding, np.zeros((studies, 12))]))
    noise = unit(rng.standard_normal((studies, 17)))
    noise[rng.random(studies) < missing] = np.nan
    corpus = Corpus(
        make_images(studies), image, known, "indexing", {"image": image, "findings": known, "impression": noise}
    )
    return corpus, image_to_image(corpus, Protocol())


def test_average_precision_of_candidates_is_that_of_the_whole_ranking():
    corpus, task = corpus_with_informative_reports(0)
    fast = [each.average_precision(EVEN) for each in _candidates(task, corpus, SCALES)]
    judged = judge(task, rerank_scorer(task, corpus, SCALES, dict.fromkeys(SCALES_NAMES, 1.0)), 1000)
    abnormal = [task.findings[n] != task.normal for n in judged.numbers]
    assert fast == pytest.approx(judged.values["AP"][abnormal].tolist(), abs=1e-6)


SCALES_NAMES = ("image", "findings", "impression")


def test_the_informative_signal_gets_the_weight():
    corpus, task = corpus_with_informative_reports(0)
    shares, before, after = best_shares(task, corpus, SCALES, EVEN)
    assert shares[1] >= 0.7 and shares[2] <= 0.1
    assert after > before + 0.05
    findings = [each.finding for each in _candidates(task, corpus, SCALES)]
    values = np.array([each.average_precision(shares) for each in _candidates(task, corpus, SCALES)])
    assert after == pytest.approx(macro_mean(values, findings))


def point(number: int, finding: str, vectors: dict[str, np.ndarray]) -> IndexPoint:
    payload = Payload(
        study_id=f"s{number}", image_id=f"{number}.png", dataset="d", view="frontal", present=[finding], uncertain=[],
        absent=[], problems=[], mesh=[], from_indexing=[finding], findings="x", impression="x", indication="",
        comparison="", report_group=f"g{number}", image_sha256=f"{number:064x}", bundle_id="b", ingested_at="",
    )  # fmt: skip
    return IndexPoint(f"00000000-0000-0000-0000-{number:012d}", vectors, "x", payload)


def stored(folder: Path, corpus: Corpus):
    index = EdgeIndex(folder)
    meta = CollectionMeta(model="m", bundle_id="b", dim=corpus.vectors.shape[1], created_at="", calibration=SCALES)
    collection = index.create(meta, name="cxr_m")
    collection.upsert(
        [
            point(n, FINDINGS[n % 5], {name: section[n] for name, section in corpus.sections.items()})
            for n in range(len(corpus.images))
        ]
    )
    return index, collection


def test_a_gain_is_measured_on_studies_that_were_not_fitted_on(tmp_path):
    corpus, _ = corpus_with_informative_reports(0, missing=0.0)
    index, collection = stored(tmp_path, corpus)
    found = tune(collection, "m", Protocol(resamples=200))
    assert found.fitted_on + found.reported_on == 200 and min(found.fitted_on, found.reported_on) > 70
    assert found.is_shown and found.gain_low > 0
    assert found.after.value > found.before.value
    assert found.weights["findings"] > found.weights["impression"]
    # A complete preset: unchanged weights of the terms, and a sum of 1.
    assert (found.weights["mesh"], found.weights["problems"]) == (WEIGHTS["mesh"], WEIGHTS["problems"])
    assert sum(found.weights.values()) == pytest.approx(1, abs=1e-3)
    with pytest.raises(
        InvalidRequest, match="the studies to fit on and to report on overlap in 1 studies; the first: s7"
    ):
        tune(collection, "m", Protocol(), fit=frozenset(["s7", "s8"]), report=frozenset(["s7", "s9"]))
    with pytest.raises(InvalidRequest, match="no abnormal finding has 5 studies among the 2 to fit on"):
        tune(collection, "m", Protocol(), fit=frozenset(["s7", "s8"]), report=frozenset(["s6", "s9"]))
    index.close()


def test_noise_shows_no_gain(tmp_path):
    shown = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        corpus, _ = corpus_with_informative_reports(seed)
        noise = {name: unit(rng.standard_normal((200, 17))) for name in corpus.sections}
        index, collection = stored(
            tmp_path / str(seed), Corpus(corpus.images, noise["image"], noise["findings"], "indexing", noise)
        )
        shown.append(tune(collection, "m", Protocol(resamples=200)).is_shown)
        index.close()
    assert sum(shown) <= 1


def test_halves_share_no_study_and_depend_on_the_id_only():
    studies = {f"s{n}" for n in range(500)}
    left, right = halves(studies)
    assert left | right == studies and not left & right
    assert 200 < len(left) < 300
    fewer, _ = halves({"s1", "s2", "s3"})
    assert fewer == left & {"s1", "s2", "s3"}


def test_the_rerank_option_accepts_the_written_weights(tiny_home, tmp_path):
    table = tmp_path / "splits.csv"
    # The archive repeats seven cases, so a split of 14 studies has fewer than five studies per finding.
    table.write_text("uid,split\n" + "".join(f"{n},{'train' if n % 2 else 'val'}\n" for n in range(14)))
    failed = run("tune", "--model", "tiny-a", "--splits-csv", table, home=tiny_home, code=1)
    assert "error [invalid_request]: no abnormal finding has 5 studies" in failed.stderr
    from tests.conftest import write_archive

    archive = write_archive(tmp_path / "more", 120, seed=4)
    options = [word for name, path in archive.items() for word in (f"--{name.replace('_', '-')}", path)]
    run("ingest", *options, "--model", "tiny-a", "--recreate", "--moved", home=tiny_home)
    out = tmp_path / "weights.json"
    found = run("tune", "--model", "tiny-a", "--out", out, "--save", "tuned", "--json", home=tiny_home)
    assert json.loads(out.read_text()) == found["weights"]
    hits = run("search", "--text", "nodule", "--rerank", out.read_text().strip(), "--json", home=tiny_home)
    assert hits["interpreted"]["rerank"] == found["weights"]
    named = run("search", "--text", "nodule", "--rerank", "tuned", "--json", home=tiny_home)
    assert named["interpreted"]["weights"] == hits["interpreted"]["weights"]
