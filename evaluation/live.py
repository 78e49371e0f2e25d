"""What only the running search can tell: its recall against exact search, what denials do, examples."""

from __future__ import annotations

import numpy as np

from evaluation.corpus import Corpus
from evaluation.results import AnnRecall, Example, ExampleHit, Probe, Protocol
from evaluation.texts import probe_texts, prompt_of
from retrieval.index.interface import FloatArray, SearchRequest, VectorSignal
from retrieval.labels import NORMAL
from retrieval.search.hits import Hit
from retrieval.search.query import Case, Query
from retrieval.search.retriever import Retriever

ANN_QUERIES = 100
ANN_KS = (10, 100)
PROBE_K = 10
_EXAMPLE_K = 5
# As ann-benchmarks counts: what lies as near as the exact k-th neighbour is right. Half precision keeps 11 bits.
_SLACK = 1e-3


def ann_recall(retriever: Retriever, protocol: Protocol) -> AnnRecall:
    """Recall of the engine's nearest images against an exact search of the same vectors, in the whole collection."""
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
            near = [cosines[numbers[hit.point_id]] >= nearest[k - 1] - _SLACK for hit in hits]
            found[str(k)].append(sum(near) / k)
    return AnnRecall(n=len(queries), recall={k: round(float(np.mean(each)), 6) for k, each in found.items()})


def negation_probes(retriever: Retriever) -> list[Probe]:
    """What hits hold of what the query denies, with the words understood and without; over the whole collection.

    A probe of which the collection holds no denied finding can tell nothing and is left out.
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
            shares.append(sum(_holds(hit, denied) for hit in hits) / max(1, len(hits)))
        holding = sum(
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
                chance=round(holding / total, 4),
            )
        )
    return probes


def examples(retriever: Retriever, corpus: Corpus) -> list[Example]:
    """The first hits of a few queries that any model is asked alike: a prompt each of two findings, and a case of each."""
    shown = []
    wanted = [finding for finding in corpus.counts if finding not in ("No Finding", NORMAL)][:2]
    for finding in wanted:
        if retriever.bundle.has_text:
            prompt = prompt_of(finding)
            hits = retriever.search(Query(text=prompt, k=_EXAMPLE_K)).hits
            shown.append(Example(title=f"text: {prompt}", hits=[_shown(hit) for hit in hits]))
        case = next(image for image in corpus.images if finding in image.findings)
        study = case.study.removeprefix(f"{case.dataset}/")
        hits = retriever.search(Query(study=Case(study_id=study, dataset=case.dataset), k=_EXAMPLE_K)).hits
        title = f"study with {', '.join(sorted(case.findings))}"
        shown.append(Example(title=title, query_sha256=case.sha256, hits=[_shown(hit) for hit in hits]))
    return shown


def _holds(hit: Hit, denied: tuple[str, ...]) -> bool:
    return any(finding in hit.present for finding in denied)


def _shown(hit: Hit) -> ExampleHit:
    return ExampleHit(
        study_id=hit.study_id, image_sha256=hit.image_sha256, score=round(hit.score, 4), findings=list(hit.present)
    )
