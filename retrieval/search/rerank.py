"""The five signals: their weights, their common scale, what each gave to a hit's score; diversity and collapse."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import InvalidRequest
from retrieval.index.interface import RRF_K, FloatArray, OverlapSignal, Scored, SearchRequest, VectorSignal, Words
from retrieval.index.schema import Scale
from retrieval.search.calibration import percentiles_of

Rerank = str | dict[str, float]
"""`none`, the name of a preset, or weights by signal."""
QueryKind = Literal["image", "text"]
Match = Literal["dense", "bm25", "hybrid"]
Collapse = Literal["none", "study", "report"]
Preset = Literal["signals", "visual", "report", "none"]
"""Names of the presets that ship, and `none`."""

WEIGHTS = {"image": 0.30, "findings": 0.25, "impression": 0.20, "mesh": 0.15, "problems": 0.10}
"""Starting weights of the similarity to image, findings and impression, and of the overlap of MeSH and Problems."""

PRESETS: dict[str, dict[str, float]] = {
    "signals": WEIGHTS,
    "visual": {"image": 1.0},
    "report": {"findings": 0.4, "impression": 0.3, "mesh": 0.2, "problems": 0.1},
}
"""Weights by name: all five; the image alone, calibrated; what the report says."""

NONE = "none"

CANDIDATES = 100
"""Nearest images that are reordered."""

_LIMIT_WEIGHT = 1_000_000

_LIKED = 3
"""How many times as much as all that is disliked together what is liked counts (benchmarks/results, "Examples")."""


@dataclass(frozen=True, slots=True)
class Side:
    """What a query brings to one vector: examples it likes, at least one, and dislikes; each float32 [D] with its kind."""

    like: tuple[tuple[QueryKind, FloatArray], ...]
    unlike: tuple[tuple[QueryKind, FloatArray], ...] = ()

    @classmethod
    def of(cls, like: Sequence[tuple[QueryKind, FloatArray]], unlike: Sequence[tuple[QueryKind, FloatArray]]) -> Side:
        """The side of these examples; all that is disliked counts as one, by its mean, or a few would outweigh the query.

        Each is float32 [D], unit norm; those of `unlike` are of one kind. The engines sum the cosines to examples and
        know no weights, so what is liked comes several times.
        """
        if not unlike:
            return cls(tuple(like))
        mean = np.mean([vector for _, vector in unlike], axis=0)
        norm = np.linalg.norm(mean)
        return cls(tuple(like) * _LIKED, ((unlike[0][0], mean / norm),) if norm else ())


@dataclass(frozen=True, slots=True)
class QuerySides:
    """What a query brings to each signal: a side by vector name, terms to overlap, and words for BM25."""

    vectors: dict[str, Side] = field(default_factory=dict)
    terms: dict[str, tuple[str, ...]] = field(default_factory=dict)
    words: str = ""


def weights_of(rerank: Rerank) -> dict[str, float]:
    """The weights that `rerank` stands for; none for `none`.

    Raises:
        InvalidRequest: no such preset or signal, or weights that are negative, huge or all zero.
    """
    if isinstance(rerank, str):
        if rerank != NONE and rerank not in PRESETS:
            raise InvalidRequest(
                f"rerank must be one of {', '.join([NONE, *PRESETS])} or weights by signal, found {rerank!r}"
            )
        return PRESETS.get(rerank, {})
    if unknown := sorted(set(rerank) - set(WEIGHTS)):
        raise InvalidRequest(f"rerank: no signal {unknown[0]!r}; there are {', '.join(WEIGHTS)}")
    if any(not 0 <= weight <= _LIMIT_WEIGHT for weight in rerank.values()) or not any(rerank.values()):
        raise InvalidRequest(f"rerank: weights must be 0 to {_LIMIT_WEIGHT:,}, and one of them above 0")
    return {name: weight for name, weight in rerank.items() if weight}


def plan(
    sides: QuerySides,
    calibration: dict[str, Scale],
    request: SearchRequest,
    *,
    rerank: Rerank = "signals",
    match: Match = "dense",
) -> SearchRequest:
    """`request` with the lists that candidates come from, and the signals that reorder them.

    A signal that the query has no side for is left out, and the weights of the rest are made to add up to 1. With
    `rerank="none"` the order of the lists stays. `dense` takes the nearest images; `bm25` the reports that hold the
    words; `hybrid` both, and the nearest by each text vector, fused by reciprocal ranks.

    Raises:
        InvalidRequest: `match` needs words and there are none, or no signal with a weight has a side.
    """
    lists = _lists(sides, match)
    weights = weights_of(rerank)
    if not weights:
        return replace(request, lists=lists)
    terms = {name: values for name, values in sides.terms.items() if values}
    usable = {name: weight for name, weight in weights.items() if name in sides.vectors or name in terms}
    total = sum(usable.values())
    if not total:
        raise InvalidRequest(f"rerank: this query has no side for {', '.join(weights)}; give weight to another signal")
    signals = [
        _signal(name, side, usable[name] / total, calibration) for name, side in sides.vectors.items() if name in usable
    ]
    overlaps = [OverlapSignal(name, values, usable[name] / total) for name, values in terms.items() if name in usable]
    if not signals:  # terms alone: the engine reorders by a sum that has a vector in it
        signals = [_signal("image", sides.vectors["image"], 0.0, calibration)]
    return replace(request, lists=lists, signals=tuple(signals), overlaps=tuple(overlaps))


def _lists(sides: QuerySides, match: Match) -> tuple[VectorSignal | Words, ...]:
    image = _signal("image", sides.vectors["image"], 1.0, {})
    if match == "dense":
        return (image,)
    if not sides.words.strip():
        raise InvalidRequest(f"match {match!r} looks words up in the reports; give a text")
    words = Words(sides.words)
    if match == "bm25":
        return (words,)
    texts = [_signal(name, side, 1.0, {}) for name, side in sides.vectors.items() if name != "image"]
    return (image, *texts, words)


def _signal(name: str, side: Side, weight: float, calibration: dict[str, Scale]) -> VectorSignal:
    """The side on the scale of its examples: a mean of cosines has the mean of their scales."""
    liked = [_scale(kind, name, calibration) for kind, _ in side.like]
    disliked = [_scale(kind, name, calibration) for kind, _ in side.unlike]
    against = sum(scale.zero for scale in disliked)
    (_, query), *more = side.like
    return VectorSignal(
        name,
        query,
        weight,
        zero=(sum(scale.zero for scale in liked) - against) / len(liked),
        one=(sum(scale.one for scale in liked) - against) / len(liked),
        like=tuple(vector for _, vector in more),
        unlike=tuple(vector for _, vector in side.unlike),
    )


def _scale(kind: QueryKind, name: str, calibration: dict[str, Scale]) -> Scale:
    return calibration.get(f"{kind}/{name}", Scale(zero=0.0, one=1.0))


def raw_signals(request: SearchRequest, hit: Scored) -> dict[str, float]:
    """Raw value of each signal of a hit: cosines (-1..1, less a third of that to what is disliked), BM25, term shares."""
    return hit.cosines | {overlap.name: _share(overlap, hit.payload) for overlap in request.overlaps}


def parts(request: SearchRequest, hit: Scored) -> dict[str, float]:
    """What each signal, or each list, gave to a hit; the parts add up to its score. A missing vector gives 0."""
    if hit.ranks:
        return {name: 1 / (RRF_K + rank) for name, rank in hit.ranks.items()}
    if request.is_plain:
        return dict(hit.cosines)
    gave = {}
    for signal in request.signals:
        cosine = hit.cosines.get(signal.name, signal.zero)
        gave[signal.name] = signal.weight * (cosine - signal.zero) / (signal.one - signal.zero)
    for overlap in request.overlaps:
        gave[overlap.name] = overlap.weight * _share(overlap, hit.payload)
    return gave


def percentiles(sides: QuerySides, calibration: dict[str, Scale], hits: Sequence[Scored]) -> list[dict[str, float]]:
    """Per cent of the collection's unrelated pairs that are less alike than query and hit, by vector, 0..100.

    Only of vectors to which the query brings a single example: a sum of several has no such distribution.
    """
    found: list[dict[str, float]] = [{} for _ in hits]
    for name, side in sides.vectors.items():
        scale = _scale(side.like[0][0], name, calibration)
        if len(side.like) > 1 or side.unlike or not scale.quantiles:
            continue
        having = [number for number, hit in enumerate(hits) if name in hit.cosines]
        cosines = [hits[number].cosines[name] for number in having]
        for number, percentile in zip(having, percentiles_of(cosines, scale), strict=True):
            found[number][name] = percentile
    return found


def diversify(hits: Sequence[Scored], diversity: float, limit: int, scale: Scale) -> list[Scored]:
    """The first `limit` of `hits` by maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998).

    Each next hit has the highest (1 - diversity) * relevance - diversity * likeness. Relevance is the score, brought to
    0..1 over `hits`; likeness the highest cosine to the image of any hit taken before, on `scale` and kept to 0..1. Equal
    ones keep their order. `diversity` is 0 (the order stays) to 1; the hits must bring their vector `image`.
    """
    if not hits or diversity == 0:
        return list(hits[:limit])
    scores = np.array([hit.score for hit in hits])
    spread = float(np.ptp(scores))
    relevance = (scores - scores.min()) / spread if spread > 0 else np.ones(len(hits))
    images = np.stack([hit.vectors["image"] for hit in hits])
    likeness: NDArray[np.float32] = np.clip((images @ images.T - scale.zero) / (scale.one - scale.zero), 0, 1)
    worst = np.zeros(len(hits))
    left = np.ones(len(hits), dtype=bool)
    taken = []
    for _ in range(min(limit, len(hits))):
        marginal = np.where(left, (1 - diversity) * relevance - diversity * worst, -np.inf)
        best = int(marginal.argmax())
        taken.append(hits[best])
        left[best] = False
        worst = np.maximum(worst, likeness[best])
    return taken


def collapse(hits: Sequence[Scored], by: Collapse) -> list[tuple[Scored, int]]:
    """The best hit of each study, or of each report that says the same, with the number of hits that it replaces.

    By report, a study without report text stands for itself.
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


def _share(overlap: OverlapSignal, payload: dict[str, Any]) -> float:
    held = set(payload[overlap.name])
    return sum(value in held for value in overlap.values) / len(overlap.values)
