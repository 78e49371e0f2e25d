"""Chance level: the expected value of each measure over all orders of the gallery, in closed form.

A query has `r` relevant items among `g`, and all orders are equally likely. Rankings are cut at `depth`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray


def expectation(measure: str, depth: int) -> Callable[[int, int], float]:
    """The expected value of `measure` (`R@K`, `Hit@K`, `P@K`, `RR`, `AP`, `nDCG@K`) as a function of 1 <= `r` <= `g`."""
    name, _, cut = measure.partition("@")
    k = int(cut or depth)
    reach = min(k, depth)  # ranks that count

    @cache
    def expected(r: int, g: int) -> float:
        match name:
            case "R" | "Hit":
                return 1 - float(_miss(r, g, min(reach, g))[-1])
            case "P":
                return r / g * min(reach, g) / k
            case "RR":
                return _reciprocal_rank(r, g, min(reach, g))
            case "AP":
                return _average_precision(r, g, min(reach, g))
            case "nDCG":
                gains = 1 / np.log2(np.arange(2, k + 2))
                return float(r / g * gains[: min(reach, g)].sum() / gains[: min(r, k)].sum())
            case _:
                raise ValueError(f"no chance level is known for {measure}")

    return expected


def _miss(r: int, g: int, k: int) -> NDArray[np.float64]:
    """Probability that none of the first i items is relevant, for i = 0..k; float64 [k + 1]."""
    drawn = np.arange(k)
    steps = np.clip((g - r - drawn) / (g - drawn), 0, 1)
    return np.concatenate([[1.0], np.cumprod(steps)])


def _reciprocal_rank(r: int, g: int, k: int) -> float:
    miss = _miss(r, g, k)
    return float(((miss[:-1] - miss[1:]) / np.arange(1, k + 1)).sum())


def _average_precision(r: int, g: int, k: int) -> float:
    """Rank i is relevant with probability r/g; then 1 + (i-1)(r-1)/(g-1) of the first i items are relevant on average."""
    ranks = np.arange(1, k + 1)
    before = (ranks - 1) * (r - 1) / (g - 1) if g > 1 else np.zeros(k)
    return float(((1 + before) / ranks).sum() / g)
