"""Checks that run searches: recall against exact search, negation probes, and example hits."""

from __future__ import annotations

import numpy as np

from evaluation.corpus import Corpus
from evaluation.results import AnnRecall, Example, ExampleHit, Probe, Protocol
from evaluation.texts import probe_texts, prompt_of
from retrieval.index.search_request import FloatArray, SearchRequest, VectorSignal
from retrieval.labels import NORMAL
from retrieval.search.hits import Hit
from retrieval.search.query import Case, Query
from retrieval.search.retriever import Retriever

ANN_QUERIES = 100
ANN_KS = (10, 100)
PROBE_K = 10
_EXAMPLE_K = 5
# As in ann-benchmarks, a hit as near as the exact k-th neighbour is correct. Half precision keeps 11 bits.
_SLACK = 1e-3


def ann_recall(retriever: Retriever, protocol: Protocol) -> AnnRecall:
    """Recall of the engine against exact search of the same vectors, in the whole collection."""
    points = list(retriever.collection.scroll(limit=None, vectors=("image",)))
    numbers = {point.point_id: number for number, point in enumerate(points)}
    stored: FloatArray = np.stack([point.vectors["image"] for point in points])
    rng = np.random.default_rng(protocol.seed)
    queries = stored[np.sort(rng.permutation(len(points))[:ANN_QUERIES])]
    found: dict[str, list[float]] = {str(k): [] for k in ANN_KS if k <= len(points)}
    for query in queries:
        cosines = stored @ query
        nearest = np.sort(cosines)[::-1]
        for k in map(int, found):
            hits = retriever.collection.search(SearchRequest(signals=(VectorSignal("image", query, 1.0),), limit=k))
            is_correct = [cosines[numbers[hit.point_id]] >= nearest[k - 1] - _SLACK for hit in hits]
            found[str(k)].append(sum(is_correct) / k)
    return AnnRecall(n=len(queries), recall={k: round(float(np.mean(each)), 6) for k, each in found.items()})


def negation_probes(retriever: Retriever) -> list[Probe]:
    """Share of hits with a finding that the query negates, with and without interpretation; over the whole collection.

    A probe is skipped if the collection has no image with the negated finding.
    """
    if not retriever.bundle.has_text:
        return []
    total = retriever.collection.count()
    counts = retriever.collection.facet("present")
    probes = []
    for text, denied in ((probe.text, probe.denied) for probe in probe_texts()):
        if not any(counts.get(finding) for finding in denied):
            continue
        shares = []
        for interpret in (True, False):
            hits = retriever.search(Query(text=text, interpret=interpret, k=PROBE_K)).hits
            shares.append(sum(_has_any(hit, denied) for hit in hits) / max(1, len(hits)))
        with_denied = sum(
            any(finding in point.payload["present"] for finding in denied)
            for point in retriever.collection.scroll(limit=None)
        )
        probes.append(
            Probe(
                text=text,
                denied=list(denied),
                k=PROBE_K,
                share_denied=round(shares[0], 4),
                share_denied_uninterpreted=round(shares[1], 4),
                chance=round(with_denied / total, 4),
            )
        )
    return probes


def examples(retriever: Retriever, corpus: Corpus) -> list[Example]:
    """First hits of a few queries, equal for all models: a prompt and a study for each of two findings."""
    found = []
    wanted = [finding for finding in corpus.counts if finding not in ("No Finding", NORMAL)][:2]
    for finding in wanted:
        if retriever.bundle.has_text:
            prompt = prompt_of(finding)
            hits = retriever.search(Query(text=prompt, k=_EXAMPLE_K)).hits
            found.append(Example(title=f"text: {prompt}", hits=[_to_example(hit) for hit in hits]))
        case = next(image for image in corpus.images if finding in image.findings)
        study = case.study.removeprefix(f"{case.dataset}/")
        hits = retriever.search(Query(study=Case(study_id=study, dataset=case.dataset), k=_EXAMPLE_K)).hits
        title = f"study with {', '.join(sorted(case.findings))}"
        found.append(Example(title=title, query_sha256=case.sha256, hits=[_to_example(hit) for hit in hits]))
    return found


def _has_any(hit: Hit, denied: tuple[str, ...]) -> bool:
    return any(finding in hit.present for finding in denied)


def _to_example(hit: Hit) -> ExampleHit:
    return ExampleHit(
        study_id=hit.study_id, image_sha256=hit.image_sha256, score=round(hit.score, 4), findings=list(hit.present)
    )
