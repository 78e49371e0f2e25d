"""Cells of the tables of a report; a missing value is a dash."""

from __future__ import annotations

from evaluation import verdict
from evaluation.results import Estimate, Times

NONE = "–"


def format_estimate(found: Estimate | None) -> str:
    """A value with its interval."""
    return verdict.format_estimate(found) if found else NONE


def format_chance(found: Estimate | None) -> str:
    """The chance level of an estimate."""
    return f"{found.chance:.3f}" if found and found.chance is not None else NONE


def format_times(times: Times | None) -> str:
    """`median / 95th percentile`."""
    return f"{times.p50_ms:.1f} / {times.p95_ms:.1f}" if times else NONE


def format_bytes(size: int | None) -> str:
    """A size in megabytes."""
    return f"{size / 1e6:.1f} MB" if size is not None else NONE
