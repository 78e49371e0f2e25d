"""Reranking: the five signals with weights and scales, the part of each in a score, diversity and collapse."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import InvalidRequest
from retrieval.index.schema import Scale
from retrieval.index.search_request import OverlapSignal, Scored, SearchRequest, VectorSignal, Words
from retrieval.search.calibration import percentiles_of
from retrieval.search.query_vectors import QueryKind, QueryVectors, VectorExamples

Rerank = str | dict[str, float]
"""`none`, the name of a preset, or weights by signal."""
Match = Literal["dense", "bm25", "hybrid"]
Collapse = Literal["none", "study", "report"]
Preset = Literal["signals", "visual", "report", "none"]
"""Names of the built-in presets, and `none`."""

WEIGHTS = {"image": 0.30, "findings": 0.25, "impression": 0.20, "mesh": 0.15, "problems": 0.10}
"""Default weights: similarity to image, findings and impression, and overlap of MeSH and Problems terms."""

PRESETS: dict[str, dict[str, float]] = {
    "signals": WEIGHTS,
    "visual": {"image": 1.0},
    "report": {"findings": 0.4, "impression": 0.3, "mesh": 0.2, "problems": 0.1},
}
"""Weights by name of preset: all five signals; the image alone, calibrated; the signals of the report."""

NONE = "none"

CANDIDATES = 100
"""Default number of nearest images that are reordered."""

_LIMIT_WEIGHT = 1_000_000


def weights_of(rerank: Rerank) -> dict[str, float]:
    """Weights by signal for `rerank`; empty for `none`.

    Raises:
        InvalidRequest: an unknown preset or signal, or weights that are negative, too large or all zero.
    """
    if isinstance(rerank, str):
        if rerank != NONE and rerank not in PRESETS:
            raise InvalidRequest(
                f"rerank must be one of {', '.join([NONE, *PRESETS])} or weights by signal, found {rerank!r}"
            )
        return PRESETS.get(rerank, {})
    if unknown := sorted(set(rerank) - set(WEIGHTS)):
        raise InvalidRequest(f"rerank: no signal {unknown[0]!r}; expected {', '.join(WEIGHTS)}")
    if any(not 0 <= weight <= _LIMIT_WEIGHT for weight in rerank.values()) or not any(rerank.values()):
        raise InvalidRequest(f"rerank: weights must be 0 to {_LIMIT_WEIGHT:,}, and one of them above 0")
    return {name: weight for name, weight in rerank.items() if weight}


def plan(
    query: QueryVectors,
    calibration: dict[str, Scale],
    request: SearchRequest,
    *,
    rerank: Rerank = "signals",
    match: Match = "dense",
) -> SearchRequest:
    """`request` with the lists that give the candidates, and the signals that reorder them.

    A signal without input from the query is left out, and the weights of the others are scaled to a sum of 1. With
    `rerank="none"` the order of the lists stays. `dense` takes the nearest images; `bm25` the reports that contain the
    words; `hybrid` both and the nearest by each text vector, fused by reciprocal ranks.

    Raises:
        InvalidRequest: `match` needs words and there are none, or no signal with a weight has input.
    """
    lists = _lists(query, match)
    weights = weights_of(rerank)
    if not weights:
        return replace(request, lists=lists)
    terms = {name: values for name, values in query.terms.items() if values}
    usable = {name: weight for name, weight in weights.items() if name in query.vectors or name in terms}
    total = sum(usable.values())
    if not total:
        raise InvalidRequest(f"rerank: this query has no input for {', '.join(weights)}; give weight to another signal")
    signals = [
        _signal(name, examples, usable[name] / total, calibration)
        for name, examples in query.vectors.items()
        if name in usable
    ]
    overlaps = [OverlapSignal(name, values, usable[name] / total) for name, values in terms.items() if name in usable]
    if not signals:  # terms alone: the engines reorder by a sum with at least one vector
        signals = [_signal("image", query.vectors["image"], 0.0, calibration)]
    return replace(request, lists=lists, signals=tuple(signals), overlaps=tuple(overlaps))


def _lists(query: QueryVectors, match: Match) -> tuple[VectorSignal | Words, ...]:
    image = _signal("image", query.vectors["image"], 1.0, {})
    if match == "dense":
        return (image,)
    if not query.words.strip():
        raise InvalidRequest(f"match {match!r} searches the reports for words; give a text")
    words = Words(query.words)
    if match == "bm25":
        return (words,)
    texts = [_signal(name, examples, 1.0, {}) for name, examples in query.vectors.items() if name != "image"]
    return (image, *texts, words)


def _signal(name: str, examples: VectorExamples, weight: float, calibration: dict[str, Scale]) -> VectorSignal:
    """The signal of `examples` on their scale: a mean of cosines has the mean of their scales."""
    liked = [_scale(kind, name, calibration) for kind, _ in examples.like]
    disliked = [_scale(kind, name, calibration) for kind, _ in examples.unlike]
    against = sum(scale.zero for scale in disliked)
    (_, query), *more = examples.like
    return VectorSignal(
        name,
        query,
        weight,
        zero=(sum(scale.zero for scale in liked) - against) / len(liked),
        one=(sum(scale.one for scale in liked) - against) / len(liked),
        like=tuple(vector for _, vector in more),
        unlike=tuple(vector for _, vector in examples.unlike),
    )


def _scale(kind: QueryKind, name: str, calibration: dict[str, Scale]) -> Scale:
    return calibration.get(f"{kind}/{name}", Scale(zero=0.0, one=1.0))


def raw_signals(request: SearchRequest, hit: Scored) -> dict[str, float]:
    """Raw value of each signal of a hit: cosine (-1..1, minus a third of that to disliked cases), BM25, share of terms."""
    return hit.cosines | {overlap.name: overlap.share_in(hit.payload) for overlap in request.overlaps}


def percentiles(query: QueryVectors, calibration: dict[str, Scale], hits: Sequence[Scored]) -> list[dict[str, float]]:
    """Percentage of the collection's unrelated pairs that are less similar than query and hit, by vector, 0..100.

    Only for vectors with a single example in the query: the distribution for a sum of several is not known.
    """
    found: list[dict[str, float]] = [{} for _ in hits]
    for name, examples in query.vectors.items():
        scale = _scale(examples.like[0][0], name, calibration)
        if len(examples.like) > 1 or examples.unlike or not scale.quantiles:
            continue
        having = [number for number, hit in enumerate(hits) if name in hit.cosines]
        cosines = [hits[number].cosines[name] for number in having]
        for number, percentile in zip(having, percentiles_of(cosines, scale), strict=True):
            found[number][name] = percentile
    return found


def diversify(hits: Sequence[Scored], diversity: float, limit: int, scale: Scale) -> list[Scored]:
    """The first `limit` of `hits` by maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998).

    Each next hit has the highest (1 - diversity) * relevance - diversity * similarity. Relevance is the score, scaled to
    0..1 over `hits`. Similarity is the highest cosine to the image of a hit taken before, on `scale` and clipped to 0..1.
    Ties keep their order. `diversity` is 0 (the order stays) to 1. The hits must have their vector `image`.
    """
    if not hits or diversity == 0:
        return list(hits[:limit])
    scores = np.array([hit.score for hit in hits])
    spread = float(np.ptp(scores))
    relevance = (scores - scores.min()) / spread if spread > 0 else np.ones(len(hits))
    images = np.stack([hit.vectors["image"] for hit in hits])
    similarity: NDArray[np.float32] = np.clip((images @ images.T - scale.zero) / (scale.one - scale.zero), 0, 1)
    worst = np.zeros(len(hits))
    left = np.ones(len(hits), dtype=bool)
    taken = []
    for _ in range(min(limit, len(hits))):
        marginal = np.where(left, (1 - diversity) * relevance - diversity * worst, -np.inf)
        best = int(marginal.argmax())
        taken.append(hits[best])
        left[best] = False
        worst = np.maximum(worst, similarity[best])
    return taken


def collapse(hits: Sequence[Scored], by: Collapse) -> list[tuple[Scored, int]]:
    """The best hit of each study, or of each group of equal reports, with the number of further hits that it replaces.

    By report, studies without report text are not merged.
    """
    if by == "none":
        return [(hit, 0) for hit in hits]
    best: dict[Hashable, Scored] = {}
    collapsed: dict[Hashable, int] = {}
    for hit in hits:
        key = _group(hit.payload, by)
        best.setdefault(key, hit)
        collapsed[key] = collapsed.get(key, -1) + 1
    return [(hit, collapsed[key]) for key, hit in best.items()]


def _group(payload: dict[str, Any], by: Collapse) -> Hashable:
    if by == "report" and payload["report_group"]:
        return str(payload["report_group"])
    return payload["dataset"], payload["study_id"]
