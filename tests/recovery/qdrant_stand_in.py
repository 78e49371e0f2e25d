"""A stand-in for a Qdrant server: a small HTTP server with the REST calls that the project uses, which fails on request.

It stores its data in one qdrant-client in local mode. Local mode does not store payload indexes or the threshold of the
optimizer; the stand-in does, because the tests compare them. Responses and status codes equal those of a real server.
"""

from __future__ import annotations

import random
import ssl
import threading
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from qdrant_client import QdrantClient, models

from tests.recovery.stand_in_http import ErrorResponse, Fault, StandInServer
from tests.recovery.stand_in_points import PointRoutes, update_result


@dataclass
class FaultPlan:
    """The share of requests that meet each fault; `seed` makes the order repeatable."""

    seed: int = 0
    shares: dict[Fault, float] = field(default_factory=dict)
    retry_after_s: int = 1
    stall_s: float = 2.0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def next(self) -> Fault | None:
        """The fault of the next request."""
        drawn = self._random.random()
        for fault, share in self.shares.items():
            if drawn < share:
                return fault
            drawn -= share
        return None


@dataclass
class _CollectionState:
    """State of a collection that local mode does not store."""

    payload_schema: dict[str, models.PayloadIndexInfo] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=lambda: {"indexing_threshold": 10_000})
    m: int = 16
    params: dict[str, Any] = field(default_factory=dict)

    def change(self, body: dict[str, Any]) -> None:
        """Change the settings of the optimizer that `body` names."""
        self.optimizer |= body.get("optimizers_config") or {}
        self.m = (body.get("hnsw_config") or {}).get("m", self.m)


class QdrantStandIn(PointRoutes):
    """The server; it listens on a free port of 127.0.0.1 until the end of its `with` block.

    `calls` lists every request (`PUT points`, `POST points/scroll`, …), also those that met a fault. `fault_counts` counts
    the faults. `client` stores the data. Each request holds `lock`.
    """

    def __init__(
        self, *, faults: FaultPlan | None = None, api_key: str | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self.client = QdrantClient(":memory:")
        self.lock = threading.RLock()
        self.faults = faults or FaultPlan()
        self.calls: list[str] = []
        self.fault_counts: Counter[Fault] = Counter()
        self.optimizing_polls = 0
        """Number of further requests that report a running optimization."""
        self.is_grey = False
        """Whether the collection must be optimized and is not, until the next change of the optimizer or write."""
        self.documents: dict[str, Any] = {}
        """Whole answers by path, which come in place of the stand-in's own."""
        self._api_key = api_key
        self._states: dict[str, _CollectionState] = {}
        self._scheduled: list[tuple[str, Fault]] = []
        self._closing = threading.Event()
        self._server = StandInServer(self, tls)
        self.url = self._server.url

    def fail_next(self, call: str, *faults: Fault) -> None:
        """Each of the next requests named `call` meets one of `faults`, in order."""
        with self.lock:
            self._scheduled += [(call, fault) for fault in faults]

    def stop_faults(self) -> None:
        """Cause no more faults, neither scheduled nor random ones."""
        with self.lock:
            self._scheduled.clear()
            self.faults = FaultPlan()

    def payload_indexes(self, collection: str) -> dict[str, str]:
        """The payload indexes: the type of each field."""
        return {name: str(info.data_type.value) for name, info in self._states[collection].payload_schema.items()}

    def indexing_threshold(self, collection: str) -> int:
        """Size of the vectors in kilobytes above which the server builds a graph; 0 while the optimizer is paused."""
        threshold: int = self._states[collection].optimizer["indexing_threshold"]
        return threshold

    def params(self, collection: str) -> dict[str, Any]:
        """The requested layout: shards, replicas, quantisation, payload on disk."""
        return self._states[collection].params

    def collections(self) -> list[str]:
        """Names of all collections."""
        return sorted(self._states)

    def drop_all(self) -> None:
        """Delete all collections, and with them their aliases."""
        with self.lock:
            for name in self.collections():
                self._delete(name, None)

    def __enter__(self) -> QdrantStandIn:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.stop()
        if kind is None and self._server.errors:
            raise self._server.errors[0]

    def next_fault(self, call: str) -> Fault | None:
        """The fault of a request: a scheduled one, or else a random one from the plan."""
        with self.lock:
            self.calls.append(call)
            scheduled = next((each for each in self._scheduled if each[0] == call), None)
            if scheduled:
                self._scheduled.remove(scheduled)
            fault = scheduled[1] if scheduled else self.faults.next()
            if fault:
                self.fault_counts[fault] += 1
            return fault

    def stall(self) -> None:
        """Wait until the client has timed out."""
        self._closing.wait(self.faults.stall_s)

    @property
    def retry_after_s(self) -> int:
        """Value of `Retry-After` in a response with status 429."""
        return self.faults.retry_after_s

    def accepts_key(self, key: str | None) -> bool:
        """Whether the key is right, or no key is needed."""
        return self._api_key in (None, key)

    def handle(self, route: str, name: str, body: Any) -> Any:
        """Result of one request: `route` as in `ROUTES`, the name of the collection, the parsed body."""
        with self.lock:
            return getattr(self, f"_{route}")(name, body)

    def _list_collections(self, _name: str, _body: Any) -> Any:
        return self.client.get_collections()

    def _exists(self, name: str, _body: Any) -> Any:
        return models.CollectionExistence(exists=self.client.collection_exists(name))

    def _get(self, name: str, _body: Any) -> Any:
        self._require_collection(name)
        info = self.client.get_collection(name)
        state = self._states[self._resolve(name)]
        info.payload_schema = state.payload_schema
        for key, value in state.optimizer.items():
            setattr(info.config.optimizer_config, key, value)
        info.config.hnsw_config.m = state.m
        if self.is_grey:
            info.status = models.CollectionStatus.GREY
        elif self.optimizing_polls:
            self.optimizing_polls -= 1
            info.status = models.CollectionStatus.YELLOW
        return info

    def _placement(self, name: str, _body: Any) -> Any:
        self._require_collection(name)
        shards = range(self._states[self._resolve(name)].params.get("shard_number") or 1)
        local = [{"shard_id": shard, "points_count": 0, "state": "Active"} for shard in shards]
        return {
            "peer_id": 1,
            "shard_count": len(local),
            "local_shards": local,
            "remote_shards": [],
            "shard_transfers": [],
        }

    def _optimizations(self, name: str, _body: Any) -> Any:
        self._require_collection(name)
        images = self.client.count(name).count
        running = {
            "uuid": "00000000-0000-0000-0000-000000000000",
            "optimizer": "merge",
            "status": "optimizing",
            "segments": [{"uuid": "00000000-0000-0000-0000-000000000001", "points_count": images}],
            "progress": {"name": "Segment Optimizing", "children": [{"name": "main_graph", "done": 1, "total": 4}]},
        }
        summary = {"queued_optimizations": 0, "queued_segments": 0, "queued_points": 0, "idle_segments": 1}
        return {"summary": summary, "running": [running] if self.optimizing_polls else []}

    def _create(self, name: str, body: Any) -> Any:
        request = models.CreateCollection.model_validate(body)
        if self.client.collection_exists(name):
            raise ErrorResponse(409, f"Wrong input: Collection `{name}` already exists!")
        self.client.create_collection(
            name,
            vectors_config=request.vectors,
            sparse_vectors_config=request.sparse_vectors,
            metadata=request.metadata,
        )
        layout = ("shard_number", "replication_factor", "on_disk_payload", "quantization_config")
        self._states[name] = _CollectionState(params={key: body.get(key) for key in layout})
        self._states[name].change(body)
        return True

    def _update(self, name: str, body: Any) -> Any:
        request = models.UpdateCollection.model_validate(body)
        self._require_collection(name)
        if request.metadata is not None:
            self.client.update_collection(name, metadata=request.metadata)
        if request.optimizers_config is not None or request.hnsw_config is not None:
            self._states[self._resolve(name)].change(body)
            self.is_grey = False
        return True

    def _delete(self, name: str, _body: Any) -> Any:
        self._states.pop(name, None)
        return bool(self.client.delete_collection(name)) if self.client.collection_exists(name) else False

    def _list_aliases(self, _name: str, _body: Any) -> Any:
        return self.client.get_aliases()

    def _change_aliases(self, _name: str, body: Any) -> Any:
        actions = models.ChangeAliasesOperation.model_validate(body).actions
        for action in actions:
            if isinstance(action, models.CreateAliasOperation):
                self._require_collection(action.create_alias.collection_name)
        self.client.update_collection_aliases(actions)
        return True

    def _index_field(self, name: str, body: Any) -> Any:
        self._require_collection(name)
        request = models.CreateFieldIndex.model_validate(body)
        schema = request.field_schema
        kind = schema if isinstance(schema, str) else schema.type.value
        params = None if isinstance(schema, str) else schema
        info = models.PayloadIndexInfo(data_type=models.PayloadSchemaType(kind), params=params, points=0)
        self._states[self._resolve(name)].payload_schema[request.field_name] = info
        return update_result()

    def _resolve(self, name: str) -> str:
        aliases = {alias.alias_name: alias.collection_name for alias in self.client.get_aliases().aliases}
        return aliases.get(name, name)
