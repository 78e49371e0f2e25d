"""The vectors of a query: examples that hits should be like or unlike, for each named vector of the index."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from retrieval.errors import InvalidRequest
from retrieval.index.interface import Stored
from retrieval.index.search_request import FloatArray, Vector

QueryKind = Literal["image", "text"]

_LIKED = 3
"""Weight of the liked examples relative to the mean of the disliked ones (benchmarks/results, "Examples")."""


@dataclass(frozen=True, slots=True)
class VectorExamples:
    """Examples of a query for one named vector: at least one liked, each with its kind, and disliked ones.

    A liked example is a vector, or the id of the stored image that has it.
    """

    like: tuple[tuple[QueryKind, Vector], ...]
    unlike: tuple[tuple[QueryKind, FloatArray], ...] = ()

    @classmethod
    def of(
        cls, like: Sequence[tuple[QueryKind, Vector]], unlike: Sequence[tuple[QueryKind, FloatArray]]
    ) -> VectorExamples:
        """Examples with their weights; all disliked ones count as one, by their mean, or a few would outweigh the query.

        Vectors are float32 [D], unit norm; those of `unlike` are of one kind. The engines sum the cosines to examples
        without weights, so liked examples are repeated.
        """
        if not unlike:
            return cls(tuple(like))
        mean = np.mean([vector for _, vector in unlike], axis=0)
        norm = np.linalg.norm(mean)
        return cls(tuple(like) * _LIKED, ((unlike[0][0], mean / norm),) if norm else ())


@dataclass(frozen=True, slots=True)
class QueryVectors:
    """Input of a query to each signal: examples by named vector, terms by overlap signal, and words for BM25."""

    vectors: dict[str, VectorExamples] = field(default_factory=dict)
    terms: dict[str, tuple[str, ...]] = field(default_factory=dict)
    words: str = ""


def collect_vectors(
    names: Iterable[str],
    like: Sequence[Stored],
    unlike: Sequence[Stored],
    *,
    text: FloatArray | None,
    image: FloatArray | None,
) -> dict[str, VectorExamples]:
    """The examples of a query by named vector, for those of `names` that it has an example for.

    `like` and `unlike` are stored images, those of `unlike` with their vectors. `text` and `image` are the embeddings of
    the query's own text and image, float32 [D], unit norm. The image is compared with reports only if the query has
    neither a text nor a liked case with a report.

    Raises:
        InvalidRequest: the query has no text, no image and no liked case.
    """
    found = {}
    for name in names:
        kind: QueryKind = "image" if name == "image" else "text"
        # An image has the vectors of the sections of its report that are not empty.
        liked: list[tuple[QueryKind, Vector]] = [
            (kind, case.point_id) for case in like if name == "image" or case.payload[name]
        ]
        if text is not None:
            liked.append(("text", text))
        if image is not None and (name == "image" or not liked):
            liked.insert(0, ("image", image))
        if liked:
            unliked = [(kind, case.vectors[name]) for case in unlike if name in case.vectors]
            found[name] = VectorExamples.of(liked, unliked)
    if "image" not in found:
        raise InvalidRequest("the query is empty: give a text, an image, a study or a liked case")
    return found
