"""What needs no model: a random order, BM25 on the reports, and the labels that the reports' words give."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from evaluation.corpus import Corpus
from evaluation.scoring import Scorer
from evaluation.tasks import IntArray, Task
from evaluation.texts import prompt_of

RANDOM = "random"
BM25 = "BM25 on reports"
LABELS = "label filter only"


def random_scorer(task: Task, seed: int) -> Scorer:
    """A random order for each query, the same one each time."""

    def score(numbers: IntArray) -> NDArray[np.float64]:
        return np.stack([np.random.default_rng((seed, int(n))).random(len(task.columns)) for n in numbers])

    return score


def bm25_scorer(task: Task, corpus: Corpus) -> Scorer | None:
    """BM25 of the query's report, or of the prompt, against the reports; None for pairs.

    There an image has no words, and a report would look for itself.
    """
    if not task.is_of_labels:
        return None
    lookup = Bm25([corpus.images[column].report for column in task.columns])

    def score(numbers: IntArray) -> NDArray[np.float64]:
        return np.stack([lookup.score(_words(task, corpus, int(n))) for n in numbers])

    return score


def label_scorer(task: Task, corpus: Corpus, seed: int) -> Scorer:
    """Agreement of the findings that the reports name, equal ones in a random order.

    Of a prompt: whether the finding is among them, as a filter would ask. Of an image or report: the share that both have
    of all that either has (Jaccard).
    """
    held = [image.said for image in corpus.images]
    names = {name: place for place, name in enumerate(sorted({*task.findings}.union(*held)))}
    theirs = _matrix([held[column] for column in task.columns], names)
    order = random_scorer(task, seed)

    def score(numbers: IntArray) -> NDArray[np.float64]:
        if task.query_kind == "prompt":
            wanted = _matrix([frozenset([task.findings[n]]) for n in numbers], names)
            agreement = wanted @ theirs.T
        else:
            mine = _matrix([held[task.rows[n]] for n in numbers], names)
            shared = mine @ theirs.T
            union = mine.sum(axis=1)[:, None] + theirs.sum(axis=1)[None, :] - shared
            agreement = np.divide(shared, union, out=np.ones_like(shared), where=union > 0)
        # Agreements are shares of small numbers: they differ by far more than this.
        return agreement + 1e-6 * order(numbers)

    return score


class Bm25:
    """Scores of the engine's own BM25 terms over a gallery, with the inverse document frequencies that Qdrant takes."""

    def __init__(self, texts: Sequence[str]) -> None:
        from qdrant_edge import Bm25 as Terms

        self._terms = Terms()
        self._size = len(texts)
        postings: dict[int, list[tuple[int, float]]] = defaultdict(list)
        for number, text in enumerate(texts):
            terms = self._terms.embed_document(text)
            for term, weight in zip(terms.indices, terms.values, strict=True):
                postings[term].append((number, weight))
        self._postings = dict(postings)

    def score(self, text: str) -> NDArray[np.float64]:
        """BM25 of `text` against each text of the gallery, float64 [G]."""
        scores = np.zeros(self._size)
        terms = self._terms.embed_query(text)
        for term, weight in zip(terms.indices, terms.values, strict=True):
            held = self._postings.get(term, [])
            idf = np.log((self._size - len(held) + 0.5) / (len(held) + 0.5) + 1)
            for number, frequency in held:
                scores[number] += weight * frequency * idf
        return scores


def _words(task: Task, corpus: Corpus, number: int) -> str:
    return prompt_of(task.findings[number]) if task.query_kind == "prompt" else corpus.images[task.rows[number]].report


def _matrix(said: Sequence[frozenset[str]], names: dict[str, int]) -> NDArray[np.float64]:
    table = np.zeros((len(said), len(names)))
    for row, findings in enumerate(said):
        table[row, [names[finding] for finding in findings]] = 1
    return table
