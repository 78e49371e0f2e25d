"""Strict mode: limits of a server collection that would refuse requests of this project."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from retrieval.index.interface import FACET_LIMIT
from retrieval.index.schema import DENSE_VECTORS, PAYLOAD_INDEXES, oversampling
from retrieval.index.search_plan import TIE_MARGIN
from retrieval.search.query import LIMIT_CANDIDATES

LARGEST_WRITE = 200
"""Points that `cxr push` and snapshots write at once. `cxr ingest --batch-size` may be larger."""

_LARGEST_LIST = LIMIT_CANDIDATES + TIE_MARGIN
_SMALLEST_LIST = 1 + TIE_MARGIN


@dataclass(frozen=True, slots=True)
class _Need:
    """The least value of a setting with which `requests` are not refused."""

    setting: str
    least: float
    requests: str


_NEEDS = (
    _Need("max_query_limit", _LARGEST_LIST, "searches and studies"),
    _Need("max_query_limit", FACET_LIMIT, "counts of the values of a field"),
    _Need("condition_max_size", LIMIT_CANDIDATES, "searches by several signals, which name their candidates"),
    _Need("search_max_batchsize", 1 + len(DENSE_VECTORS), "searches by several signals"),
    _Need("search_max_oversampling", oversampling(_SMALLEST_LIST), "searches for a few hits"),
    _Need("upsert_max_batchsize", LARGEST_WRITE, "writes"),
    _Need("max_payload_index_count", len(PAYLOAD_INDEXES), "new payload indexes"),
)

_MAY_REFUSE = (
    "filter_max_conditions",
    "max_points_count",
    "max_collection_vector_size_bytes",
    "max_collection_payload_size_bytes",
    "max_disk_usage_percent",
    "max_resident_memory_percent",
    "read_rate_limit",
    "write_rate_limit",
    "sparse_config",
)
"""Settings whose effect depends on the data, the load or the query."""


def refused_requests(strict_mode: dict[str, Any] | None, *, timeout_s: int) -> list[str]:
    """The settings of a collection that refuse requests of this project, each with the requests and the value they need.

    `timeout_s` is the timeout that requests carry.
    """
    if not strict_mode or not strict_mode.get("enabled"):
        return []
    return list(_refusals(strict_mode, timeout_s))


def possible_refusals(strict_mode: dict[str, Any] | None) -> list[str]:
    """The settings of a collection that may refuse requests some day, with their values."""
    if not strict_mode or not strict_mode.get("enabled"):
        return []
    return [f"{name} {strict_mode[name]}" for name in _MAY_REFUSE if strict_mode.get(name)]


def _refusals(strict_mode: dict[str, Any], timeout_s: int) -> Iterator[str]:
    for need in (*_NEEDS, _Need("max_timeout", timeout_s, "all that takes a timeout (CXR_INDEX_TIMEOUT_S)")):
        value = strict_mode.get(need.setting)
        if value is not None and value < need.least:
            yield f"{need.setting} {value} refuses {need.requests}, which need {need.least:g}"
    if strict_mode.get("search_allow_exact") is False:
        yield "search_allow_exact false refuses exact counts, and all searches of a collection without a graph"
