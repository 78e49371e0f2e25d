"""One node or a cluster, running for the length of a block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import trustme

from tests.qdrant import keys
from tests.qdrant.node import QdrantNode, require_qdrant


class QdrantCluster:
    """Nodes that form one cluster."""

    def __init__(self, nodes: Sequence[QdrantNode]) -> None:
        self.nodes = tuple(nodes)

    @property
    def url(self) -> str:
        """The addresses of the nodes, as one value of `CXR_INDEX`."""
        return ",".join(node.url for node in self.nodes)

    def start(self) -> None:
        """Start the nodes; the first is the one that the others join."""
        first, *others = self.nodes
        first.start("--uri", first.p2p_url)
        first.wait_until_ready()
        for node in others:
            node.start("--uri", node.p2p_url, "--bootstrap", first.p2p_url)
        self.wait_until_whole()

    def wait_until_whole(self) -> None:
        """Wait until every node serves, knows all others and the leader, and has no replica that is not active."""
        for node in self.nodes:
            node.wait_until_ready()
            node.wait_until(lambda at=node: self._is_whole(at), "does not see the whole cluster")  # type: ignore[misc]

    def _is_whole(self, node: QdrantNode) -> bool:
        state = node.result("GET", "/cluster")
        if len(state["peers"]) != len(self.nodes) or not state["raft_info"]["leader"]:
            return False
        for name in node.collections():
            shards = node.result("GET", f"/collections/{name}/cluster")
            held = [*shards["local_shards"], *shards["remote_shards"]]
            if shards["shard_transfers"] or any(each["state"] != "Active" for each in held):
                return False
        return True

    def collections(self) -> list[str]:
        """Names of all collections."""
        return self.nodes[0].collections()

    def drop_all(self) -> None:
        """Delete all collections, and wait until every node knows it."""
        self.nodes[0].drop_all()
        for node in self.nodes[1:]:
            node.wait_until(lambda at=node: not at.collections(), "keeps its collections")  # type: ignore[misc]

    def close(self) -> None:
        """Kill the nodes and remove their data."""
        for node in self.nodes:
            node.close()


@contextmanager
def running_node(
    folder: Path, *, tls: trustme.CA | None = None, has_keys: bool = False, **environment: str
) -> Iterator[QdrantNode]:
    """A server of one node that serves until the end of the block; `environment` holds further settings of it.

    `tls` issues its certificate; `ca.pem` in its folder is the authority. With keys it takes those of
    `tests.qdrant.keys`, and tokens.
    """
    settings = environment | (keys.SETTINGS if has_keys else {})
    node = QdrantNode(require_qdrant(), folder, settings, tls=tls, key=keys.API_KEY if has_keys else "")
    try:
        node.start()
        node.wait_until_ready()
        yield node
    finally:
        node.close()


@contextmanager
def running_cluster(folder: Path, nodes: int = 3, **environment: str) -> Iterator[QdrantCluster]:
    """A cluster that serves until the end of the block."""
    binary = require_qdrant()
    settings = environment | {"QDRANT__CLUSTER__ENABLED": "true"}
    with ExitStack() as stack:
        made = [QdrantNode(binary, folder / f"node-{number}", settings) for number in range(nodes)]
        for node in made:
            stack.callback(node.close)
        cluster = QdrantCluster(made)
        cluster.start()
        yield cluster
