"""A real index of six images, in either engine; every result is calculated by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from evaluation.baselines import BM25, LABELS
from evaluation.corpus import read_collection
from evaluation.evaluate import CIRCULAR, NOT_APPLICABLE, OWN_REPORT, UNKNOWN_LABELS, measure_corpus
from evaluation.results import Protocol
from retrieval.errors import InvalidRequest
from retrieval.index.interface import Collection, IndexPoint
from retrieval.index.schema import CollectionMeta, Payload
from retrieval.model.encoder import Encoder
from tests.conftest import DIM, write_tiny_bundle
from tests.retrieval.engines import new_index

# Study, labels of the indexing, labels of the text alone, report, image vector, report vector; both are directions.
#   The nearest images of s0 are s1 (.8), s4 (.6) and then all others (0), of these s2 before s3 before s5, by id.
ROWS = (
    ("s0", ["Edema"], [], "edema", {0: 1.0}, {0: 1.0}),
    ("s1", ["Edema"], [], "edema mild", {0: 0.8, 1: 0.6}, {0: 1.0}),
    ("s2", ["Edema"], [], "edema", {2: 1.0}, {3: 1.0}),
    ("s3", ["Fracture"], ["Edema"], "fracture", {3: 1.0}, {2: 1.0}),
    ("s4", ["Fracture"], [], "fracture of a rib", {0: 0.6, 4: 0.8}, {4: 1.0}),
    ("s5", ["No Finding"], [], "clear", {5: 1.0}, {5: 1.0}),
)
PROTOCOL = Protocol(smallest=2, resamples=100)


def vector(parts: dict[int, float]) -> np.ndarray:
    made = np.zeros(DIM, dtype=np.float32)
    for place, value in parts.items():
        made[place] = value
    return made


def point(number: int, row: tuple) -> IndexPoint:
    study, indexed, told, report, image, text = row
    payload = Payload(
        study_id=study, image_id=f"{study}.png", dataset="d", view="frontal", present=[*indexed, *told], uncertain=[],
        absent=[], problems=indexed, mesh=indexed, from_indexing=indexed, from_text=told, findings=report, impression="",
        indication="", comparison="", report_group=report, image_sha256=f"{number:064x}", bundle_id="b",
        ingested_at="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    point_id = f"00000000-0000-0000-0000-{number:012d}"
    return IndexPoint(point_id, {"image": vector(image), "findings": vector(text)}, report, payload)


def stored(folder: Path, points: list[IndexPoint], engine: str = "edge") -> Iterator[Collection]:
    index = new_index(engine, folder)
    meta = CollectionMeta(model="known", bundle_id="b", dim=DIM, created_at="2026-01-01T00:00:00+00:00")
    collection = index.create(meta, name="cxr_known")
    collection.upsert(points)
    collection.optimize()
    yield collection
    index.close()


@pytest.fixture(params=["edge", "server"])
def collection(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Collection]:
    yield from stored(tmp_path / "index", [point(number, row) for number, row in enumerate(ROWS)], request.param)


@pytest.fixture
def encoder(tmp_path: Path) -> Encoder:
    return Encoder(write_tiny_bundle(tmp_path / "models", "known", seed=0), device="cpu", threads=1)


def measured(collection: Collection, encoder: Encoder, protocol: Protocol = PROTOCOL, **options):
    corpus = read_collection(collection, view=protocol.view, vocabulary=protocol.vocabulary, **options)
    return {(row.task, row.system): row for row in measure_corpus(encoder, corpus, protocol)}, corpus


def figures(row, *names: str) -> dict[str, float]:
    return {name: row.measures[name].value for name in names}


def test_exact_pairs_have_the_ranks_calculated_by_hand(collection, encoder):
    rows, _ = measured(collection, encoder)
    # Ranks of the own report: s0 1 (tied with s1's, whose id is higher), s1 2 (the tie the other way), s2's own is
    # orthogonal, as are all but s3's: s3 first, then s0 s1 s2, so 4; s3: s2's first, then s0 s1 s3: 4; s4: its own .8
    # before s0's and s1's .6: 1; s5: 1.
    strict = rows["image_to_report_strict", "known"]
    assert figures(strict, "R@1", "R@2", "R@5", "RR") == {
        "R@1": 0.5,
        "R@2": pytest.approx(4 / 6, abs=1e-6),
        "R@5": 1.0,
        "RR": pytest.approx((1 + 1 / 2 + 1 / 4 + 1 / 4 + 1 + 1) / 6, abs=1e-6),
    }
    assert strict.measures["R@1"].chance == pytest.approx(1 / 6, abs=1e-6)
    # s0 and s2 say the same: s2 finds s0's report at rank 2.
    grouped = rows["image_to_report_grouped", "known"]
    assert grouped.measures["RR"].value == pytest.approx((1 + 1 / 2 + 1 / 2 + 1 / 4 + 1 + 1) / 6, abs=1e-6)
    # In the gallery where s0 stands for both: s0 s1 s3 s4 s5. s2: s3, then s0: 2. s3: s0 s1 s3: 3 (its own is orthogonal).
    distinct = rows["image_to_report_distinct", "known"]
    assert distinct.gallery == 5
    assert distinct.measures["RR"].value == pytest.approx((1 + 1 / 2 + 1 / 2 + 1 / 3 + 1 + 1) / 6, abs=1e-6)
    # The other way. s0's report: s0 1. s1's: s0 1, s1 .8: 2. s2's is where image s3 lies: s3, s0, s1, s2: 4.
    # s3's is where image s2 lies: s2, s0, s1, s3: 4. s4's: s4 .8: 1. s5's: 1.
    back = rows["report_to_image_strict", "known"]
    assert back.measures["RR"].value == pytest.approx((1 + 1 / 2 + 1 / 4 + 1 / 4 + 1 + 1) / 6, abs=1e-6)
    assert back.measures["R@2"].value == pytest.approx(4 / 6, abs=1e-6)


def test_similar_images_have_the_precision_calculated_by_hand(collection, encoder):
    rows, corpus = measured(collection, encoder)
    assert corpus.judged_by == "indexing"
    row = rows["image_to_image", "known"]
    # Edema is s0, s1, s2: what the text alone says of s3 does not judge. Ranks of the others, own study left out:
    #   s0: s1 .8, s4 .6, s2, s3, s5 -> relevant at 1 and 3: AP (1 + 2/3) / 2, P@1 1, P@5 2/5
    #   s1: s0 .8, s4 .48, s2, s3, s5 -> 1 and 3: the same
    #   s2: all 0: s0 s1 s3 s4 s5 -> 1 and 2: AP 1
    # Fracture is s3, s4. s3: all 0: s0 s1 s2 s4 s5 -> 4: AP 1/4. s4: s0 .6, s1 .48, s2, s3, s5 -> 4: 1/4; P@1 0, P@5 1/5.
    assert set(row.by_finding) == {"Edema", "Fracture"}
    edema, fracture = (row.by_finding[name]["AP"].value for name in ("Edema", "Fracture"))
    assert (edema, fracture) == (pytest.approx((5 / 6 + 5 / 6 + 1) / 3, abs=1e-6), 0.25)
    assert figures(row, "P@1", "P@5", "AP") == {
        "P@1": 0.5,
        "P@5": pytest.approx((2 / 5 + 1 / 5) / 2, abs=1e-6),
        "AP": pytest.approx((edema + fracture) / 2, abs=1e-6),
    }
    # Two of the five others are relevant to Edema, one to Fracture: .4 and .2.
    assert row.measures["P@1"].chance == pytest.approx(0.3, abs=1e-6)
    assert row.measures["P@1"].lift == pytest.approx(0.5 / 0.3)
    assert (row.queries, row.gallery, row.measures["AP"].findings) == (5, 6, 2)


def test_baselines_have_the_results_calculated_by_hand(collection, encoder):
    rows, _ = measured(collection, encoder)
    # The word edema is in three reports, so BM25 ranks the two others first for each of them; fracture alike.
    bm25 = rows["image_to_image", BM25]
    assert bm25.measures["AP"].value == 1.0
    assert bm25.marks == [OWN_REPORT]
    assert rows["text_to_image", BM25].marks == []
    # Words of the reports name the indexed findings: a filter finds all of them.
    assert rows["text_to_image", LABELS].measures["AP"].value == 1.0
    for task in ("image_to_report_strict", "report_to_image_grouped"):
        assert rows[task, BM25].marks == [NOT_APPLICABLE] and not rows[task, BM25].measures
        assert rows[task, LABELS].marks == [OWN_REPORT]


def test_systems_that_read_reports_are_marked_as_circular_if_labels_come_from_the_text(tmp_path, encoder):
    for key, given, judge, mark in (
        ("text", {"from_indexing": [], "from_text": ["Edema"]}, "text", CIRCULAR),
        ("old", {"from_indexing": [], "from_text": []}, "present", UNKNOWN_LABELS),
    ):
        points = [point(number, row) for number, row in enumerate(ROWS)]
        points = [replace(each, payload=msgspec.structs.replace(each.payload, **given)) for each in points]
        made = stored(tmp_path / key, points)
        rows, corpus = measured(next(made), encoder)
        assert corpus.judged_by == judge
        for task, system in (("image_to_image", BM25), ("text_to_image", BM25), ("text_to_image", LABELS)):
            assert mark in rows[task, system].marks
        assert rows["image_to_image", "known"].marks == []
        # Now what the text says of s3 counts.
        assert corpus.counts["Edema"] == 4
        next(made, None)


def test_a_split_takes_queries_and_gallery_from_its_studies_only(collection, encoder):
    rows, corpus = measured(collection, encoder, studies=frozenset(["s0", "s1", "s3", "nobody"]))
    assert set(corpus.studies) == {"d/s0", "d/s1", "d/s3"}
    assert {row.gallery for row in rows.values()} == {3}
    with pytest.raises(InvalidRequest, match="in this split"):
        read_collection(collection, view="frontal", vocabulary="chexpert", studies=frozenset(["nobody"]))
    with pytest.raises(InvalidRequest, match="lateral"):
        read_collection(collection, view="lateral", vocabulary="chexpert")


def test_the_data_fingerprint_depends_on_labels_and_images_and_not_on_vectors(collection, tmp_path):
    def fingerprint(points: list[IndexPoint], key: str) -> str:
        made = stored(tmp_path / key, points)
        corpus = read_collection(next(made), view="frontal", vocabulary="chexpert")
        told = corpus.describe(len(points))
        next(made, None)
        return told.fingerprint

    points = [point(number, row) for number, row in enumerate(ROWS)]
    base = fingerprint(points, "a")
    turned = [replace(each, vectors={**each.vectors, "image": vector({7: 1.0})}) for each in points]
    assert fingerprint(turned, "b") == base
    assert fingerprint(points[1:], "c") != base
    relabelled = [replace(points[0], payload=msgspec.structs.replace(points[0].payload, from_indexing=[])), *points[1:]]
    assert fingerprint(relabelled, "d") != base
