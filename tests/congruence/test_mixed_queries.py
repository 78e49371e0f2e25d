"""200 mixed queries on some 750 images: both engines give the same hits in the same order, again, and after a restore."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, get_args

import numpy as np
import pytest

from archives.indiana import IndianaSource
from archives.phantoms import write_phantoms
from ingest.snapshot import create_snapshot, restore_snapshot
from ingest.transfer import LoadOptions, push
from ingest.worker import Worker
from retrieval.index.edge.index import EdgeIndex
from retrieval.index.filters import Filters
from retrieval.index.interface import Collection, Index
from retrieval.index.schema import collection_name
from retrieval.model.bundle import find_bundle
from retrieval.model.encoder import Encoder
from retrieval.search.query import Case, Facet, Query
from retrieval.search.retriever import Retriever
from tests.congruence.conftest import opened_server

pytestmark = pytest.mark.real

MODEL = "phantom-siglip"
STUDIES = 420
QUERIES = 200
TEXTS = (
    "cardiomegaly with small bilateral pleural effusions",
    "right upper lobe nodule, no pneumothorax",
    "no acute cardiopulmonary abnormality",
    "left pneumothorax",
    "heart and lungs are normal",
    "possible opacity at the left base",
)
SHARDS = {"node": 1, "cluster_of_4_shards": 4}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return Encoder(find_bundle(MODEL, tmp_path_factory.mktemp("models")), device="cpu", threads=2)


@pytest.fixture(scope="module")
def original(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collection]:
    """Phantoms in the embedded engine; some images occur twice, so that scores tie."""
    folder = tmp_path_factory.mktemp("mixed")
    files = write_phantoms(folder / "archive", STUDIES, seed=5)
    images = sorted(files.images_dir.iterdir())
    for image, twin in zip(images[:60:2], images[1:60:2], strict=True):
        twin.write_bytes(image.read_bytes())
    index = EdgeIndex(folder / "index")
    Worker(encoder, index).run(IndianaSource(files.reports_csv, files.projections_csv, files.images_dir))
    collection = index.open(collection_name(MODEL))
    assert collection.count() >= 700
    yield collection
    index.close()


@pytest.fixture(scope="module", params=SHARDS)
def server(request: pytest.FixtureRequest, original: Collection) -> Iterator[tuple[Index, int]]:
    """A server that holds a copy of `original`, and its number of shards."""
    with opened_server(request, request.param) as index:
        push(original, index, LoadOptions(shards=SHARDS[request.param]))
        yield index, SHARDS[request.param]


def mixed_queries(collection: Collection, *, words: bool) -> list[Query]:
    """Queries of every kind, drawn with a fixed seed; without `words` none that BM25 answers."""
    rng = random.Random(7)
    studies = sorted({stored.payload["study_id"] for stored in collection.scroll(limit=None)})
    present = list(collection.facet("present"))
    qualified = list(collection.facet("qualified"))

    def case() -> Case:
        return Case(study_id=rng.choice(studies))

    def maybe(share: float, value: Any, default: Any) -> Any:
        return value if rng.random() < share else default

    def filters() -> Filters:
        return Filters(
            all=tuple(rng.sample(present + qualified, maybe(0.15, 1, 0))),
            any=tuple(rng.sample(present, maybe(0.2, 3, 0))),
            none=tuple(rng.sample(present + qualified, maybe(0.3, 2, 0))),
            absent=tuple(rng.sample(present, maybe(0.05, 1, 0))),
            sides=maybe(0.1, ("left",), ()),
            severities=maybe(0.05, ("mild", "small"), ()),
            sites=maybe(0.05, ("base",), ()),
            view=maybe(0.5, "frontal", None),
            has_report=maybe(0.1, True, None),
            exclude_studies=tuple(rng.sample(studies, maybe(0.1, 5, 0))),
        )

    def query(number: int) -> Query:
        with_text = number % 2 == 0
        match = rng.choice(("dense", "bm25", "hybrid")) if words and with_text else "dense"
        return Query(
            text=rng.choice(TEXTS) if with_text else None,
            study=case() if number % 4 in (1, 2) else None,
            like=tuple(case() for _ in range(rng.randint(int(number % 4 == 3), 3))),
            unlike=tuple(case() for _ in range(maybe(0.3, 2, 0))),
            filters=filters(),
            match=match,
            rerank=rng.choice(("signals", "signals", "visual", "none", "report" if match != "dense" else "signals")),
            diversity=maybe(0.2, 0.4, 0.0),
            collapse=rng.choice(("none", "none", "study", "report")),
            candidates=rng.choice((10, 100, 300)),
            facets=tuple(rng.sample(get_args(Facet), maybe(0.3, 3, 0))),
            k=rng.choice((5, 10, 30)),
        )

    return [query(number) for number in range(QUERIES)]


def answers(encoder: Encoder, collection: Collection, queries: list[Query]) -> list[Any]:
    """The hits of each query in order, with their scores, and the facets."""
    with Retriever(encoder, collection) as retriever:
        found = [retriever.search(query) for query in queries]
    return [
        ([(hit.study_id, hit.image_id) for hit in each.hits], [hit.score for hit in each.hits], each.facets)
        for each in found
    ]


def assert_equal(found: list[Any], expected: list[Any], queries: list[Query]) -> None:
    assert sum(bool(hits) for hits, _, _ in expected) > 0.8 * QUERIES
    for query, (hits, scores, facets), (hits_0, scores_0, facets_0) in zip(queries, found, expected, strict=True):
        assert hits == hits_0, query
        np.testing.assert_allclose(scores, scores_0, atol=1e-5, err_msg=str(query))
        assert facets == facets_0, query


def test_both_engines_answer_alike_twice_and_after_a_restore(server, original, encoder, tmp_path):
    index, shards = server
    queries = mixed_queries(original, words=shards == 1)
    expected = answers(encoder, original, queries)
    remote = index.open(original.name)
    for _ in range(2):
        assert_equal(answers(encoder, remote, queries), expected, queries)
    assert_equal(answers(encoder, original, queries), expected, queries)
    create_snapshot(remote, tmp_path / "remote.zip")
    restored = EdgeIndex(tmp_path / "restored")
    restore_snapshot(tmp_path / "remote.zip", restored)
    assert_equal(answers(encoder, restored.open(original.name), queries), expected, queries)
    restored.close()
    create_snapshot(original, tmp_path / "original.zip")
    restore_snapshot(tmp_path / "original.zip", index, LoadOptions(shards=shards, recreate=True))
    assert_equal(answers(encoder, index.open(original.name), queries), expected, queries)
