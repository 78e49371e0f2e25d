"""Simulates live experiments: sessions until a decision, and the rate of wrong decisions.

    python -m benchmarks.experiments

The test is evaluated after every simulated session. Interleaving: 40 % of the sessions have no click; in the others a hit
of model A is clicked with the given probability. Split: half of the sessions each, with the given success rates. `decided`
is the share of experiments that name a winner, `wrong` the share that name the worse model (any, if both are equal), and
`sessions` the median number of sessions of those that decide.
"""

from __future__ import annotations

import argparse
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.result_file import write_result
from service.experiments.sequential import ALPHA, preference_log_e, split_log_e

TIES = 0.4
PREFERENCES = (0.5, 0.52, 0.55, 0.6, 0.65, 0.7)
RATES = ((0.05, 0.05), (0.4, 0.4), (0.4, 0.42), (0.4, 0.45), (0.4, 0.5), (0.4, 0.55), (0.4, 0.6))


def main() -> None:
    """Simulate, and write `benchmarks/results/experiments.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=1000, help="experiments per row (default: %(default)s)")
    parser.add_argument("--sessions", type=int, default=2000, help="sessions per experiment (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    shape = (arguments.experiments, arguments.sessions)
    rng = np.random.default_rng(arguments.seed)
    interleaving = [{"prefers_a": p, **interleave(rng, p, shape)} for p in PREFERENCES]
    split = [{"rate_a": a, "rate_b": b, **split_sessions(rng, a, b, shape)} for a, b in RATES]
    write_result(
        "experiments",
        {
            "alpha": ALPHA,
            "experiments": shape[0],
            "sessions": shape[1],
            "seed": arguments.seed,
            "without_click": TIES,
            "interleaving": interleaving,
            "split": split,
        },
    )


def interleave(rng: np.random.Generator, p: float, shape: tuple[int, int]) -> dict[str, Any]:
    """Experiments in which users click a hit of A with probability `p`."""
    clicked = rng.random(shape) >= TIES
    won = clicked & (rng.random(shape) < p)
    wins, losses = np.cumsum(won, axis=1), np.cumsum(clicked & ~won, axis=1)
    return _measure(preference_log_e(wins, losses), (wins - losses).astype(np.float64), sign=np.sign(p - 0.5))


def split_sessions(rng: np.random.Generator, a: float, b: float, shape: tuple[int, int]) -> dict[str, Any]:
    """Experiments in which a session succeeds with probability `a` under A and `b` under B."""
    is_b = rng.random(shape) < 0.5
    success = rng.random(shape) < np.where(is_b, b, a)
    rates = [np.cumsum(success & arm, axis=1) / np.maximum(np.cumsum(arm, axis=1), 1) for arm in (~is_b, is_b)]
    return _measure(split_log_e(is_b, success, 0.5), rates[0] - rates[1], sign=np.sign(a - b))


def _measure(log_e: NDArray[np.float64], lead: NDArray[np.float64], *, sign: float) -> dict[str, Any]:
    """Figures of experiments. `lead` is above 0 if A leads; `sign` is the true sign, 0 for equal models."""
    crossed = log_e >= math.log(1 / ALPHA)
    decided = crossed.any(axis=1)
    first = crossed.argmax(axis=1)
    leads = np.sign(lead[np.arange(len(lead)), first])
    wrong = decided & (leads != sign)
    return {
        "decided": float(decided.mean()),
        "wrong": float(wrong.mean()),
        "sessions": float(np.median(first[decided] + 1)) if decided.any() else None,
    }


if __name__ == "__main__":
    main()
