"""Answers of a Qdrant server about its own state: the fields that `ingest.doctor.server.health` reads.

The names are those of the server's API. Fields that a version or a key does not show have a default.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T")


class Answer(msgspec.Struct, Generic[T], frozen=True):
    """The envelope of an answer."""

    result: T


class Welcome(msgspec.Struct, frozen=True):
    """`GET /`, which needs no key."""

    version: str = ""


class Peer(msgspec.Struct, frozen=True):
    """A node of a cluster, by the address at which other nodes reach it."""

    uri: str


class Raft(msgspec.Struct, frozen=True):
    """How the nodes agree on collections and replicas."""

    leader: int | None = None
    pending_operations: int = 0


class ConsensusThread(msgspec.Struct, frozen=True):
    """The thread by which a node takes part in this."""

    consensus_thread_status: str = "working"
    err: str = ""


class Cluster(msgspec.Struct, frozen=True):
    """`GET /cluster`."""

    status: str = "disabled"
    peer_id: int = 0
    peers: dict[int, Peer] = {}
    raft_info: Raft = Raft()
    consensus_thread_status: ConsensusThread = ConsensusThread()


class PeerDetails(msgspec.Struct, frozen=True):
    """What a node tells the others of itself."""

    version: str = ""


class AnsweringPeer(msgspec.Struct, frozen=True):
    """A node, and whether it answered the node that was asked."""

    uri: str
    responsive: bool
    details: PeerDetails | None = None


class AnsweringPeers(msgspec.Struct, frozen=True):
    """The nodes."""

    peers: dict[int, AnsweringPeer] = {}


class ShardReplica(msgspec.Struct, frozen=True):
    """A replica of a shard. `status` is missing if its node did not answer."""

    peer_id: int
    state: str
    status: str | None = None


class ReplicatedShard(msgspec.Struct, frozen=True):
    """A shard with its replicas."""

    id: int
    replicas: list[ShardReplica] = []


class ReplicatedCollection(msgspec.Struct, frozen=True):
    """The shards of a collection."""

    shards: list[ReplicatedShard] | None = None


class ClusterTelemetry(msgspec.Struct, frozen=True):
    """`GET /cluster/telemetry`: the state of all nodes that answer. A token for collections does not see the nodes."""

    collections: dict[str, ReplicatedCollection] = {}
    cluster: AnsweringPeers | None = None


class VectorCounts(msgspec.Struct, frozen=True):
    """Counts of a named vector in a segment; those in its graph are `num_indexed_vectors`."""

    num_vectors: int = 0
    num_indexed_vectors: int = 0


class SegmentInfo(msgspec.Struct, frozen=True):
    """Counts of a segment."""

    vector_data: dict[str, VectorCounts] = {}


class VectorConfig(msgspec.Struct, frozen=True):
    """A dense vector: its count of numbers."""

    size: int


class SegmentConfig(msgspec.Struct, frozen=True):
    """Settings of a segment."""

    vector_data: dict[str, VectorConfig] = {}


class Segment(msgspec.Struct, frozen=True):
    """A segment: part of a replica with graphs of its own."""

    info: SegmentInfo
    config: SegmentConfig


class OptimizerState(msgspec.Struct, frozen=True):
    """The optimizer of a shard: `ok`, or its error."""

    status: Any = "ok"


class LocalShard(msgspec.Struct, frozen=True):
    """A replica on the node that was asked."""

    status: str | None = None
    segments: list[Segment] | None = None
    optimizations: OptimizerState | None = None


class Shard(msgspec.Struct, frozen=True):
    """A shard; `local` is missing if the node has no replica of it."""

    id: int
    local: LocalShard | None = None


class Params(msgspec.Struct, frozen=True):
    """The layout of a collection."""

    shard_number: int = 1
    replication_factor: int = 1


class OptimizerConfig(msgspec.Struct, frozen=True):
    """Settings of the optimizer; a threshold of 0 pauses it."""

    indexing_threshold: int | None = None
    max_optimization_threads: int | None = None


class GraphConfig(msgspec.Struct, frozen=True):
    """Settings of the graphs; with `m` 0 there are none."""

    m: int = 16


class Config(msgspec.Struct, frozen=True):
    """Settings of a collection."""

    params: Params = Params()
    optimizer_config: OptimizerConfig = OptimizerConfig()
    hnsw_config: GraphConfig = GraphConfig()
    strict_mode_config: dict[str, Any] | None = None


class CollectionTelemetry(msgspec.Struct, frozen=True):
    """A collection as its node sees it."""

    id: str = ""
    config: Config | None = None
    shards: list[Shard] | None = None


class Collections(msgspec.Struct, frozen=True):
    """The collections of a node."""

    collections: list[CollectionTelemetry] | None = None


class System(msgspec.Struct, frozen=True):
    """The machine of a node; its disk in kilobytes."""

    disk_size: int | None = None


class App(msgspec.Struct, frozen=True):
    """The program of a node."""

    version: str = ""
    system: System | None = None


class Telemetry(msgspec.Struct, frozen=True):
    """`GET /telemetry?details_level=4`."""

    app: App | None = None
    collections: Collections = Collections()


class PlacedShard(msgspec.Struct, frozen=True):
    """A replica; `peer_id` is missing if it is on the node that was asked."""

    shard_id: int
    state: str
    peer_id: int | None = None


class Placement(msgspec.Struct, frozen=True):
    """`GET /collections/{name}/cluster`."""

    peer_id: int
    local_shards: list[PlacedShard] = []
    remote_shards: list[PlacedShard] = []


class IndexedField(msgspec.Struct, frozen=True):
    """A payload field with an index."""

    data_type: str


class Info(msgspec.Struct, frozen=True):
    """`GET /collections/{name}`. The status is that of one replica of each shard."""

    status: str
    optimizer_status: Any = "ok"
    config: Config = Config()
    payload_schema: dict[str, IndexedField] = {}


class Queue(msgspec.Struct, frozen=True):
    """What the optimizers of all replicas have not begun."""

    queued_optimizations: int = 0
    queued_points: int = 0


class Optimizations(msgspec.Struct, frozen=True):
    """`GET /collections/{name}/optimizations`, of all replicas."""

    summary: Queue = Queue()
    running: list[Any] = []


class Usage(msgspec.Struct, frozen=True):
    """Bytes on disk."""

    disk_bytes: int = 0


class Memory(msgspec.Struct, frozen=True):
    """`GET /collections/{name}/memory`, of all replicas."""

    total: Usage = Usage()


class Alias(msgspec.Struct, frozen=True):
    """Another name of a collection."""

    alias_name: str
    collection_name: str


class Aliases(msgspec.Struct, frozen=True):
    """`GET /aliases`."""

    aliases: list[Alias] = []
