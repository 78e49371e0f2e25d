"""What a server reports of the replicas of a collection: their nodes, their status, the graphs, the optimizer's work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from retrieval.errors import IndexFailure, IndexUnreachable
from retrieval.index.schema import vector_kb
from retrieval.index.server.http import ServerClient
from retrieval.index_address import collection_path

GREEN, YELLOW, GREY, RED = "green", "yellow", "grey", "red"
"""Status of a replica: all is built; segments are being merged or graphs built; neither, though needed, which the server
shows after a restart until the next write; a write or a build has failed."""

_TELEMETRY_TIMEOUT_S = 10
_LISTED = 4


class Replica(msgspec.Struct, frozen=True, kw_only=True):
    """One copy of a shard. `status` is None if its node does not answer; `state` is `Active` unless it is being repaired."""

    shard: int
    peer: int
    state: str
    status: str | None

    def __str__(self) -> str:
        """For messages: `shard 0 on node 123`."""
        return f"shard {self.shard} on node {self.peer}"


def read_replicas(client: ServerClient, name: str) -> list[Replica]:
    """All replicas of the collection `name`, by shard and node.

    A node that knows no other reports one status for all of its shards, which is the worst.
    """
    path = collection_path(name)
    held = client.call("GET", f"{path}/cluster", None, _Placement)
    if not held.remote_shards:
        status = client.call("GET", path, None, _Info).status
        return [
            Replica(shard=each.shard_id, peer=held.peer_id, state=each.state, status=status)
            for each in held.local_shards
        ]
    found = client.call(
        "GET", "/cluster/telemetry", None, _ClusterTelemetry, details_level=3, timeout=_TELEMETRY_TIMEOUT_S
    )
    if name not in found.collections:
        raise IndexFailure(f"the server does not report the replicas of {name}; may this key read the collection?")
    return [
        Replica(shard=shard.id, peer=each.peer_id, state=each.state, status=each.status)
        for shard in found.collections[name].shards
        for each in shard.replicas
    ]


def describe(things: Sequence[object]) -> str:
    """For messages: the first few of `things` and the number of the others; empty for none."""
    listed = [str(thing) for thing in things[:_LISTED]]
    return ", ".join(listed) + (f" and {len(things) - _LISTED} more" if len(things) > _LISTED else "")


@dataclass(frozen=True, slots=True)
class OptimizerWork:
    """The work of the optimizers of all replicas: `images` in segments to be merged or built, `images_left` to do."""

    images: int
    images_left: int


def read_work(client: ServerClient, name: str) -> OptimizerWork:
    """What the optimizers of all replicas are doing and have yet to do for the collection `name`."""
    found = client.call("GET", f"{collection_path(name)}/optimizations", None, _Optimizations)
    running = [
        (sum(segment.points_count for segment in one.segments), one.progress.share_done) for one in found.running
    ]
    queued = found.summary.queued_points
    return OptimizerWork(
        images=queued + sum(images for images, _ in running),
        images_left=queued + sum(round(images * (1 - done)) for images, done in running),
    )


@dataclass(frozen=True, slots=True)
class MissingGraph:
    """A named vector without a graph in a segment of `images`, on the node that was asked."""

    vector: str
    shard: int
    images: int

    def __str__(self) -> str:
        return f"the graph of {self.vector} for {self.images:,} images in shard {self.shard}"


def missing_graphs(client: ServerClient, name: str, threshold_kb: int) -> list[MissingGraph]:
    """The graphs that segments of `threshold_kb` and more lack, by vector, on the node that is asked.

    The count of indexed vectors that a collection reports counts its BM25 index, too. Empty if the key may not read
    telemetry.
    """
    try:
        found = client.call("GET", "/telemetry", None, _Telemetry, details_level=4, timeout=_TELEMETRY_TIMEOUT_S)
    except IndexUnreachable:
        raise
    except IndexFailure:
        return []
    missing = []
    for collection in found.collections.collections:
        for shard in collection.shards if collection.id == name else ():
            for segment in shard.local.segments if shard.local else ():
                sizes = {
                    vector: vector_kb(config.size, segment.info.vector_data[vector].num_vectors)
                    for vector, config in segment.config.vector_data.items()
                }
                # If one vector of a segment reaches the threshold, all get graphs.
                if max(sizes.values()) >= threshold_kb:
                    missing += [
                        MissingGraph(vector, shard.id, segment.info.vector_data[vector].num_vectors)
                        for vector, size in sizes.items()
                        if size and not segment.info.vector_data[vector].num_indexed_vectors
                    ]
    return missing


class _LocalShard(msgspec.Struct):
    shard_id: int
    state: str


class _Placement(msgspec.Struct):
    peer_id: int
    local_shards: list[_LocalShard]
    remote_shards: list[Any]


class _Info(msgspec.Struct):
    status: str


class _ClusterReplica(msgspec.Struct):
    peer_id: int
    state: str
    status: str | None = None


class _ClusterShard(msgspec.Struct):
    id: int
    replicas: list[_ClusterReplica]


class _ClusterCollection(msgspec.Struct):
    shards: list[_ClusterShard] = []


class _ClusterTelemetry(msgspec.Struct):
    collections: dict[str, _ClusterCollection] = {}


class _Step(msgspec.Struct):
    done: int | None = None
    total: int | None = None
    children: list[_Step] = []

    @property
    def share_done(self) -> float:
        """The share of the counted steps that is done, 0..1."""
        counted = list(self._counted())
        total = sum(total for _, total in counted)
        return sum(done for done, _ in counted) / total if total else 0.0

    def _counted(self) -> Iterator[tuple[int, int]]:
        if self.total:
            yield min(self.done or 0, self.total), self.total
        for child in self.children:
            yield from child._counted()


class _OptimizedSegment(msgspec.Struct):
    points_count: int


class _Running(msgspec.Struct):
    segments: list[_OptimizedSegment]
    progress: _Step


class _Summary(msgspec.Struct):
    queued_points: int = 0


class _Optimizations(msgspec.Struct):
    summary: _Summary
    running: list[_Running]


class _VectorCount(msgspec.Struct):
    num_vectors: int
    num_indexed_vectors: int


class _VectorConfig(msgspec.Struct):
    size: int


class _SegmentInfo(msgspec.Struct):
    vector_data: dict[str, _VectorCount]


class _SegmentConfig(msgspec.Struct):
    vector_data: dict[str, _VectorConfig] = {}


class _Segment(msgspec.Struct):
    info: _SegmentInfo
    config: _SegmentConfig


class _Local(msgspec.Struct):
    segments: list[_Segment] = []


class _Shard(msgspec.Struct):
    id: int
    local: _Local | None = None


class _Collection(msgspec.Struct):
    id: str
    shards: list[_Shard] = []


class _Collections(msgspec.Struct):
    collections: list[_Collection] = []


class _Telemetry(msgspec.Struct):
    collections: _Collections
