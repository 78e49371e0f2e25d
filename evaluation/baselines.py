"""Baselines that need no model: a random order, BM25 on the reports, and agreement of report labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from qdrant_edge import Bm25 as EdgeBm25

from evaluation.corpus import Corpus
from evaluation.scoring import Scorer
from evaluation.tasks import IntArray, Task
from evaluation.texts import prompt_of

RANDOM = "random"
BM25 = "BM25 on reports"
LABELS = "label filter only"


def random_scorer(task: Task, seed: int) -> Scorer:
    """A scorer that gives each query a random order; the same seed gives the same order."""

    def score(numbers: IntArray) -> NDArray[np.float64]:
        return np.stack([np.random.default_rng((seed, int(n))).random(len(task.columns)) for n in numbers])

    return score


def bm25_scorer(task: Task, corpus: Corpus) -> Scorer | None:
    """A scorer by BM25 of the query's report, or of the prompt, against the reports; None for exact pairs.

    In exact pairs an image has no words, and a report would find itself.
    """
    if not task.is_of_labels:
        return None
    bm25 = Bm25([corpus.images[column].report for column in task.columns])

    def score(numbers: IntArray) -> NDArray[np.float64]:
        return np.stack([bm25.score(_query_text(task, corpus, int(n))) for n in numbers])

    return score


def label_scorer(task: Task, corpus: Corpus, seed: int) -> Scorer:
    """A scorer by agreement of the findings that the reports name, with ties in random order.

    For a prompt: whether the report names the finding, as a filter tests it. For an image or report: the Jaccard index of
    the two sets of findings.
    """
    findings = [image.report_findings for image in corpus.images]
    names = {name: place for place, name in enumerate(sorted({*task.findings}.union(*findings)))}
    gallery = _matrix([findings[column] for column in task.columns], names)
    order = random_scorer(task, seed)

    def score(numbers: IntArray) -> NDArray[np.float64]:
        if task.query_kind == "prompt":
            wanted = _matrix([frozenset([task.findings[n]]) for n in numbers], names)
            agreement = wanted @ gallery.T
        else:
            queries = _matrix([findings[task.rows[n]] for n in numbers], names)
            shared = queries @ gallery.T
            union = queries.sum(axis=1)[:, None] + gallery.sum(axis=1)[None, :] - shared
            agreement = np.divide(shared, union, out=np.ones_like(shared), where=union > 0)
        # Ratios of small integers differ by far more than 1e-6.
        return agreement + 1e-6 * order(numbers)

    return score


class Bm25:
    """BM25 over a gallery, with the terms of the engine and the inverse document frequencies of Qdrant."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._terms = EdgeBm25()
        self._size = len(texts)
        postings: dict[int, list[tuple[int, float]]] = defaultdict(list)
        for number, text in enumerate(texts):
            terms = self._terms.embed_document(text)
            for term, weight in zip(terms.indices, terms.values, strict=True):
                postings[term].append((number, weight))
        self._postings = dict(postings)

    def score(self, text: str) -> NDArray[np.float64]:
        """BM25 scores of `text` against the texts of the gallery, float64 [G]."""
        scores = np.zeros(self._size)
        terms = self._terms.embed_query(text)
        for term, weight in zip(terms.indices, terms.values, strict=True):
            postings = self._postings.get(term, [])
            idf = np.log((self._size - len(postings) + 0.5) / (len(postings) + 0.5) + 1)
            for number, frequency in postings:
                scores[number] += weight * frequency * idf
        return scores


def _query_text(task: Task, corpus: Corpus, number: int) -> str:
    return prompt_of(task.findings[number]) if task.query_kind == "prompt" else corpus.images[task.rows[number]].report


def _matrix(sets: Sequence[frozenset[str]], names: dict[str, int]) -> NDArray[np.float64]:
    """Which set holds which name, float64 [sets, names] of 0 and 1."""
    table = np.zeros((len(sets), len(names)))
    for row, findings in enumerate(sets):
        table[row, [names[finding] for finding in findings]] = 1
    return table
