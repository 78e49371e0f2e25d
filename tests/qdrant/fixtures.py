"""Servers that all tests of a session share: a test that kills or stops a node starts servers of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trustme

from tests.qdrant.node import QdrantNode
from tests.qdrant.servers import QdrantCluster, running_cluster, running_node


@pytest.fixture(scope="session")
def qdrant_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QdrantNode]:
    """One node, for tests that leave it running and remove what they made."""
    with running_node(tmp_path_factory.mktemp("qdrant") / "node") as node:
        yield node


@pytest.fixture(scope="session")
def qdrant_secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QdrantNode]:
    """One node with keys and TLS, for tests that leave it running and remove what they made."""
    with running_node(tmp_path_factory.mktemp("qdrant") / "secure", tls=trustme.CA(), has_keys=True) as node:
        yield node


@pytest.fixture(scope="session")
def qdrant_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QdrantCluster]:
    """Three nodes, for tests that leave them running and remove what they made."""
    with running_cluster(tmp_path_factory.mktemp("qdrant") / "cluster") as cluster:
        yield cluster
