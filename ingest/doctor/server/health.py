"""The state of a Qdrant server or cluster: its nodes, and the replicas, graphs and settings of each collection."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from ingest.doctor.server import answers
from ingest.doctor.server.node_client import PEERS_S, NodeClient
from retrieval.index_address import collection_path, is_unencrypted


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a cluster. `answers` is None if the key does not see it; `version` is empty if it does not answer."""

    peer: int
    address: str
    answers: bool | None
    version: str


@dataclass(frozen=True, slots=True)
class Replica:
    """A copy of a shard on a node. `state` is `Active` unless it is damaged or being repaired.

    `status` is that of its optimizer: `green`, `yellow` while it works, `grey` if it has work and does not begin, `red`
    after an error; None if its node does not answer or the key does not see it.
    """

    shard: int
    peer: int
    state: str
    status: str | None = None


@dataclass(frozen=True, slots=True)
class SegmentVectors:
    """The images of one segment that have the vector `name` of `dim` numbers, and how many of them are in its graph."""

    peer: int
    shard: int
    name: str
    dim: int
    images: int
    in_graph: int


@dataclass(slots=True)
class CollectionHealth:
    """The state of one collection. None stands for what the key does not see.

    Attributes:
        info: Status and payload indexes.
        config: Settings.
        replicas: All replicas, by shard and node.
        segments: The segments on the nodes that were asked.
        seen_peers: The nodes that showed their segments.
        queue: What the optimizers have not begun.
        running: Optimizations that run.
        disk_bytes: Bytes on the disks of all nodes.
        errors: Errors of the optimizer by node.
    """

    info: answers.Info | None = None
    config: answers.Config | None = None
    replicas: tuple[Replica, ...] | None = None
    segments: list[SegmentVectors] = field(default_factory=list)
    seen_peers: set[int] = field(default_factory=set)
    queue: answers.Queue | None = None
    running: int = 0
    disk_bytes: int | None = None
    errors: dict[int, str] = field(default_factory=dict)

    @property
    def statuses(self) -> set[str]:
        """The statuses of all replicas that show theirs."""
        shown = {each.status for each in self.replicas or () if each.status}
        return shown or ({self.info.status} if self.info else set())


@dataclass(slots=True)
class ServerHealth:
    """The state of a server or cluster. None stands for what the key does not see.

    Attributes:
        addresses: The addresses that were asked, each with the version of its node; empty if that is unknown.
        silent: Addresses that do not answer, with the reason.
        nodes: The nodes of a cluster; one without a cluster.
        is_cluster: Whether there are several nodes, or could be.
        has_leader: Whether the nodes have one, without which nothing but points can be changed.
        consensus_error: Why a node does not take part in the agreement of the nodes; empty if it does.
        aliases: Collections by alias.
        disks: Size of the disk in bytes by address. The server does not tell how much of it is free.
        is_hindered: Whether an answer failed although the key may see it, as while a node is away.
        sends_key_in_clear: Whether the key crosses a network without encryption.
        collections: The state of each collection.
    """

    addresses: dict[str, str] = field(default_factory=dict)
    silent: dict[str, str] = field(default_factory=dict)
    nodes: tuple[Node, ...] | None = None
    is_cluster: bool | None = None
    has_leader: bool = True
    consensus_error: str = ""
    aliases: dict[str, str] | None = None
    disks: dict[str, int] = field(default_factory=dict)
    is_hindered: bool = False
    sends_key_in_clear: bool = False
    collections: dict[str, CollectionHealth] = field(default_factory=dict)

    def name_of(self, peer: int) -> str:
        """A node in messages: its address, or its number if the key does not see that."""
        if self.nodes and not self.is_cluster:
            return self.nodes[0].address
        return next((each.address for each in self.nodes or () if each.peer == peer), f"node {peer}")


def read_health(
    urls: Sequence[str],
    collections: Iterable[str],
    *,
    api_key: str | None,
    timeout_s: float,
    ca_file: Path | None = None,
) -> ServerHealth:
    """The state of the server or cluster whose nodes are at `urls`, and of its `collections`.

    Each node tells its own segments only, so `urls` that name all nodes show most. `ca_file` is PEM; `timeout_s` is for each
    answer. A node that does not answer, and what the key does not see, are part of the result.
    """
    health = ServerHealth(sends_key_in_clear=api_key is not None and any(map(is_unencrypted, urls)))
    with ExitStack() as stack:
        nodes = [NodeClient(url, api_key, timeout_s, ca_file, stack) for url in urls]
        telemetry = {}
        for node in nodes:
            welcome = node.get("/", answers.Welcome, is_bare=True)
            health.addresses[node.url] = welcome.version if welcome else ""
            telemetry[node] = found = node.get("/telemetry", answers.Telemetry, details_level=4)
            if found and found.app and found.app.system and found.app.system.disk_size:
                health.disks[node.url] = found.app.system.disk_size * 1024
        answering = [node for node in nodes if not node.silence]
        health.silent = {node.url: node.silence for node in nodes if node.silence}
        if answering:
            peers = _read_cluster(health, answering)
            for name in collections:
                health.collections[name] = _read_collection(name, answering, telemetry, peers)
        health.is_hindered = any(node.is_hindered for node in answering)
    return health


def _read_cluster(health: ServerHealth, nodes: Sequence[NodeClient]) -> answers.ClusterTelemetry | None:
    """Read what concerns the nodes; gives what they tell one another."""
    aliases = nodes[0].get("/aliases", answers.Aliases)
    if aliases:
        health.aliases = {each.alias_name: each.collection_name for each in aliases.aliases}
    seen = None
    for node in nodes:
        state = node.get("/cluster", answers.Cluster)
        if state is None:
            continue
        seen = seen or state
        node.peer = state.peer_id
        health.has_leader &= state.status == "disabled" or bool(state.raft_info.leader)
        thread = state.consensus_thread_status
        if thread.consensus_thread_status != "working":
            health.consensus_error = f"{node.url}: {thread.err or thread.consensus_thread_status}"
    if seen is None:
        hindered = nodes[0].is_hindered
        peers = nodes[0].get("/cluster/telemetry", answers.ClusterTelemetry, details_level=3, timeout=PEERS_S)
        nodes[0].is_hindered = hindered  # a single server answers this with an error
        return peers
    health.is_cluster = seen.status != "disabled"
    if not health.is_cluster:
        health.nodes = (Node(0, nodes[0].url, True, health.addresses[nodes[0].url]),)
        return None
    peers = nodes[0].get("/cluster/telemetry", answers.ClusterTelemetry, details_level=3, timeout=PEERS_S)
    told = peers.cluster.peers if peers and peers.cluster else {}
    health.nodes = tuple(
        Node(
            peer,
            each.uri,
            told[peer].responsive if peer in told else None,
            (details.version if peer in told and (details := told[peer].details) else ""),
        )
        for peer, each in sorted(seen.peers.items())
    )
    return peers


def _read_collection(
    name: str,
    nodes: Sequence[NodeClient],
    telemetry: dict[NodeClient, answers.Telemetry | None],
    peers: answers.ClusterTelemetry | None,
) -> CollectionHealth:
    path = collection_path(name)
    info = nodes[0].get(path, answers.Info)
    health = CollectionHealth(info=info, config=info.config if info else None)
    optimizations = nodes[0].get(f"{path}/optimizations", answers.Optimizations)
    if optimizations:
        health.queue, health.running = optimizations.summary, len(optimizations.running)
    memory = nodes[0].get(f"{path}/memory", answers.Memory)
    if memory:
        health.disk_bytes = memory.total.disk_bytes
    statuses: dict[tuple[int, int], str | None] = {}
    for shard in (peers.collections[name].shards or ()) if peers and name in peers.collections else ():
        statuses |= {(shard.id, each.peer_id): each.status for each in shard.replicas}
    placement = None
    for node in nodes:
        placed = node.get(f"{path}/cluster", answers.Placement)
        if placed is None:
            continue
        placement = placement or placed
        told = _collection_of(telemetry[node], name)
        health.config = health.config or told.config
        for shard_id, local in ((shard.id, shard.local) for shard in told.shards or () if shard.local):
            statuses.setdefault((shard_id, placed.peer_id), local.status)
            if statuses[shard_id, placed.peer_id] is None:
                statuses[shard_id, placed.peer_id] = local.status
            health.seen_peers.add(placed.peer_id)
            health.segments += _segment_vectors(placed.peer_id, shard_id, local)
            if local.optimizations and local.optimizations.status != "ok":
                health.errors[placed.peer_id] = str(local.optimizations.status)
    if placement:
        held = [*placement.local_shards, *placement.remote_shards]
        replicas = [
            (each.shard_id, placement.peer_id if each.peer_id is None else each.peer_id, each.state) for each in held
        ]
        health.replicas = tuple(Replica(*each, statuses.get(each[:2])) for each in sorted(replicas))
    return health


def _collection_of(found: answers.Telemetry | None, name: str) -> answers.CollectionTelemetry:
    every = (found.collections.collections or ()) if found else ()
    return next((each for each in every if each.id == name), answers.CollectionTelemetry())


def _segment_vectors(peer: int, shard: int, local: answers.LocalShard) -> Iterable[SegmentVectors]:
    for segment in local.segments or ():
        for name, config in segment.config.vector_data.items():
            counts = segment.info.vector_data.get(name, answers.VectorCounts())
            yield SegmentVectors(peer, shard, name, config.size, counts.num_vectors, counts.num_indexed_vectors)
