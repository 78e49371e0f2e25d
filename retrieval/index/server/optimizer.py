"""The optimizer of a server: its settings for a load and for searches, and a wait until every replica has built its graphs.

A server merges small segments and builds int8 copies and graphs in the background. Search is fastest with one large
segment in each shard. While a collection is filled, nothing is built: new images go into segments of limited size, because
the BM25 index of a segment takes longer for each image the larger it is. At the end all segments are merged at once.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence

import msgspec

from retrieval.errors import IndexFailure
from retrieval.index.schema import (
    EXACT_FILTERED_UP_TO_KB,
    EXACT_UP_TO_KB,
    INT8_FROM_KB,
    LOADED_SEGMENT_IMAGES,
    LOADED_SEGMENTS,
    SEGMENT_KB,
    CollectionMeta,
    model_of,
    vector_kb,
)
from retrieval.index.server.http import ServerClient
from retrieval.index.server.replicas import (
    GREY,
    RED,
    YELLOW,
    OptimizerWork,
    Replica,
    describe,
    missing_graphs,
    read_replicas,
    read_work,
)
from retrieval.index_address import collection_path
from retrieval.progress import NoProgress, StageProgress

_log = logging.getLogger(__name__)

LOAD_FROM_IMAGES = 1_000
"""Fewer images are written without a change of the settings: what the server builds meanwhile is small."""

_LINKS = 16
_NEVER_MERGED = 1_000_000  # segments; no shard has so many
_POLL_S = 0.5
# New settings reach the optimizers of all nodes in the background; measured: the status turns yellow within a second.
_SETTLED_AFTER_S = 2.0
# If nothing is built so long after the last change of the settings, the optimizer is triggered, at most so often.
_BEGINS_WITHIN_S = 10.0
_TRIGGERS = 5


class OptimizerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a collection's optimizer. Sizes are kilobytes of one named vector in one segment.

    From `indexing_threshold` on (0: never) a segment gets int8 copies and, if `m` is not 0, graphs with `m` links. More
    segments than `default_segment_number` are merged, up to `max_segment_size`; a larger segment takes no new images.
    """

    indexing_threshold: int
    default_segment_number: int
    max_segment_size: int
    m: int

    @property
    def is_for_load(self) -> bool:
        """Whether nothing is built."""
        return self.indexing_threshold == 0

    def to_request(self) -> dict[str, dict[str, int]]:
        """The part of a request that gives a collection these settings."""
        optimizer = msgspec.structs.asdict(self)
        return {"hnsw_config": {"m": optimizer.pop("m")}, "optimizers_config": optimizer}


def search_settings(meta: CollectionMeta, images: int, *, has_graphs: bool = False) -> OptimizerSettings:
    """The settings for searches in a collection of `images`; one that `has_graphs` keeps them until it is half as large.

    A shard ends as one segment, or as few as `SEGMENT_KB` allows. If it needs graphs, the threshold is at most a quarter of
    such a segment. So no shard lacks them because it is spread over segments: three are merged, and the larger of two
    has more than a quarter.
    """
    shard_kb = vector_kb(meta.dim, images) / meta.layout.shards
    segments = max(1, math.ceil(shard_kb / SEGMENT_KB))
    if shard_kb <= EXACT_UP_TO_KB / (2 if has_graphs else 1):
        threshold, links = INT8_FROM_KB if meta.layout.quantization == "int8" else EXACT_UP_TO_KB, 0
    else:
        threshold = min(EXACT_UP_TO_KB, max(EXACT_FILTERED_UP_TO_KB, _power_of_two(shard_kb / segments / 4)))
        links = _LINKS
    return OptimizerSettings(
        indexing_threshold=threshold, default_segment_number=segments, max_segment_size=2 * SEGMENT_KB, m=links
    )


def load_settings(meta: CollectionMeta, images: int, *, links: int) -> OptimizerSettings:
    """The settings while about `images` are loaded into a collection with `links`: nothing is merged or built."""
    in_segment = max(LOADED_SEGMENT_IMAGES, images / meta.layout.shards / LOADED_SEGMENTS)
    return OptimizerSettings(
        indexing_threshold=0,
        default_segment_number=_NEVER_MERGED,
        max_segment_size=math.ceil(vector_kb(meta.dim, in_segment)),
        m=links,
    )


def _power_of_two(value: float) -> int:
    """The largest power of two up to `value`, so that the threshold does not change with every image."""
    return 1 << (int(value).bit_length() - 1)


class CollectionOptimizer:
    """The optimizer of one collection, on all of its replicas."""

    def __init__(
        self,
        client: ServerClient,
        name: str,
        meta: CollectionMeta,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Use the collection `name`; `clock` counts seconds."""
        self._client = client
        self._name = name
        self._meta = meta
        self._sleep = sleep
        self._clock = clock

    def begin_load(self, images: int) -> None:
        """Let the server merge and build nothing until `run`, while about `images` are written.

        If another process has begun a load, its settings stay.
        """
        if images < LOAD_FROM_IMAGES:
            return
        found = self._read_settings()
        if not found.is_for_load:
            self._apply(load_settings(self._meta, images, links=found.m))

    def run(self, images: int, progress: StageProgress | None = None) -> None:
        """Set the optimizer for searches in `images`, and wait until every replica has merged and built all.

        A grey replica is triggered, but never while another one builds: this would stop the build. A replica whose node
        does not answer is left out with a warning; it builds when the node is back.

        Raises:
            IndexFailure: a replica has failed, does not begin, or has no graphs in the end; the message names it.
        """
        found = self._read_settings()
        wanted = search_settings(self._meta, images, has_graphs=found.m > 0)
        changed_at = -math.inf
        if found != wanted:
            self._apply(wanted)
            changed_at = self._clock()
        self._wait(wanted, progress or NoProgress(), changed_at)

    def _wait(self, wanted: OptimizerSettings, progress: StageProgress, changed_at: float) -> None:
        """Wait until all is built; the settings were last changed, or the optimizer triggered, at `changed_at`."""
        shown, triggers = _Shown(progress, lambda: read_work(self._client, self._name)), 0
        built_at = changed_at
        while True:
            replicas = read_replicas(self._client, self._name)
            if failed := [each for each in replicas if each.status == RED]:
                raise self._failure(describe(failed), "failed to optimize")
            now = self._clock()
            building = [each for each in replicas if each.status == YELLOW]
            waiting = [each for each in replicas if each.status == GREY]
            # Between two builds there is a moment without one, but a grey replica never begins by itself.
            idle_s = now - (changed_at if waiting else max(changed_at, built_at))
            if building:
                built_at = now
                shown.update(building)
            elif unfinished := describe(waiting) or self._find_missing(wanted):
                if idle_s > _BEGINS_WITHIN_S:
                    if triggers == _TRIGGERS:
                        raise self._failure(unfinished, "is not optimized, and the server does not begin")
                    self._trigger(unfinished)
                    triggers, changed_at = triggers + 1, now
            elif idle_s > _SETTLED_AFTER_S:
                break
            self._sleep(_POLL_S)
        if silent := [each for each in replicas if each.status is None]:
            _log.warning(
                "%s of %s does not answer; it is optimized when its node is back", describe(silent), self._name
            )

    def _find_missing(self, wanted: OptimizerSettings) -> str:
        """The graphs that are missing although no replica builds; empty if all are there."""
        return describe(missing_graphs(self._client, self._name, wanted.indexing_threshold)) if wanted.m else ""

    def _trigger(self, unfinished: str) -> None:
        _log.info("%s of %s is not optimized; triggering the optimizer of the server", unfinished, self._name)
        self._client.call("PATCH", collection_path(self._name), {"optimizers_config": {}}, bool)

    def _read_settings(self) -> OptimizerSettings:
        config = self._client.call("GET", collection_path(self._name), None, _Info).config
        if config.optimizer_config.max_optimization_threads == 0:
            raise IndexFailure(
                f"the optimizer of {self._name} is switched off (max_optimization_threads is 0); switch it on, for example "
                "in the dashboard"
            )
        return config.settings()

    def _apply(self, settings: OptimizerSettings) -> None:
        self._client.call("PATCH", collection_path(self._name), settings.to_request(), bool)

    def _failure(self, what: str, found: str) -> IndexFailure:
        return IndexFailure(
            f"{what} of {self._name} {found}; the log of its node says why. Then run "
            f"`cxr ingest finish --model {model_of(self._name)}`"
        )


class _Shown:
    """Shows the replicas that build, and how many of their images are done.

    While a node is away the server cannot count, so that only the replicas are shown.
    """

    def __init__(self, progress: StageProgress, count: Callable[[], OptimizerWork]) -> None:
        self._progress = progress
        self._count = count
        self._can_count = True
        self._title = ""

    def update(self, building: Sequence[Replica]) -> None:
        """Show the state of now."""
        if describe(building) != self._title:
            self._title = describe(building)
            self._progress.stage(f"Optimizing {self._title}", "images")
        if self._can_count:
            try:
                work = self._count()
            except IndexFailure as error:
                _log.info("the progress cannot be counted: %s", error)
                self._can_count = False
            else:
                self._progress(work.images - work.images_left, work.images)


class _Optimizer(msgspec.Struct):
    default_segment_number: int
    indexing_threshold: int | None = None
    max_segment_size: int | None = None
    max_optimization_threads: int | None = None


class _Graph(msgspec.Struct):
    m: int


class _Config(msgspec.Struct):
    hnsw_config: _Graph
    optimizer_config: _Optimizer

    def settings(self) -> OptimizerSettings:
        optimizer = self.optimizer_config
        return OptimizerSettings(
            indexing_threshold=-1 if optimizer.indexing_threshold is None else optimizer.indexing_threshold,
            default_segment_number=optimizer.default_segment_number,
            max_segment_size=optimizer.max_segment_size or 0,
            m=self.hnsw_config.m,
        )


class _Info(msgspec.Struct):
    config: _Config
