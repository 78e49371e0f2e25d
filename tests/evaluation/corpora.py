"""Corpora with known results: random vectors, and vectors that separate all findings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evaluation.corpus import Corpus, Image
from evaluation.results import Protocol

FINDINGS = ("Cardiomegaly", "Pleural Effusion", "Atelectasis", "Pneumothorax", "No Finding")
PROTOCOL = Protocol(resamples=200)


@dataclass(frozen=True)
class Bundle:
    name: str = "model"
    has_text: bool = True


@dataclass(frozen=True)
class Prompted:
    """What stands for an encoder where only prompts are encoded: it gives the vectors it was made with."""

    vectors: np.ndarray
    bundle: Bundle = Bundle()

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        return self.vectors[: len(texts)]


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def make_images(studies: int, *, views: int = 1, groups: int | None = None, prefix: str = "") -> tuple[Image, ...]:
    """Images in the order of their ids; study n has the finding n modulo five, and a report of its own or one of `groups`."""
    return tuple(
        Image(
            id=f"{prefix}{n:05d}-{view}",
            study=f"d/{prefix}{n}",
            dataset="d",
            sha256=f"{prefix}{n}-{view}",
            group=f"g{n % (groups or studies)}",
            report=f"{FINDINGS[n % 5].lower()} case {n % (groups or studies)}",
            findings=frozenset([FINDINGS[n % 5]]),
            report_findings=frozenset([FINDINGS[n % 5]]),
        )
        for n in range(studies)
        for view in range(views)
    )


def random_corpus(studies: int, seed: int) -> tuple[Corpus, Prompted]:
    """Vectors that have nothing to do with anything."""
    rng = np.random.default_rng(seed)
    images, reports, prompts = (unit(rng.standard_normal((count, 24))) for count in (studies, studies, 5))
    return Corpus(make_images(studies, groups=studies // 2), images, reports, "indexing"), Prompted(prompts)


def perfect_corpus(studies: int) -> tuple[Corpus, Prompted]:
    """A direction for each finding and a shorter one for each study: the own report is nearest, then the same finding."""
    finding = np.eye(5)[np.arange(studies) % 5] * 2
    vectors = unit(np.hstack([finding, np.eye(studies)]))
    prompts = unit(np.hstack([np.eye(5), np.zeros((5, studies))]))
    return Corpus(make_images(studies), vectors, vectors, "indexing"), Prompted(prompts)
