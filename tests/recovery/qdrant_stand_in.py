"""A small HTTP server that speaks the part of Qdrant's REST API that the project uses, and misbehaves on request.

Behind it stands one qdrant-client in local mode. What local mode does not keep (payload indexes, the optimiser's
threshold) is kept here, because the tests compare it. Answers and status codes are those of Qdrant's own server.
"""

from __future__ import annotations

import random
import ssl
import threading
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from pydantic import TypeAdapter
from qdrant_client import QdrantClient, models

from tests.recovery.stand_in_http import Fault, Refusal, StandInServer

_SELECTOR = TypeAdapter(models.PointsSelector)


@dataclass
class FaultPlan:
    """Which share of all requests meets each fault; `seed` fixes the order in which they come."""

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
class _Extra:
    """What local mode does not keep of a collection."""

    payload_schema: dict[str, models.PayloadIndexInfo] = field(default_factory=dict)
    indexing_threshold: int = 10_000
    params: dict[str, Any] = field(default_factory=dict)


class QdrantStandIn:
    """The server, listening on a free port of 127.0.0.1 from `with` to the end of the block.

    `calls` names every request as it came in (`PUT points`, `POST points/scroll`, …), those that met a fault included;
    `met` counts the faults. `client` is the store behind the server, `lock` is held while a request is handled.
    """

    def __init__(
        self, *, faults: FaultPlan | None = None, api_key: str | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self.client = QdrantClient(":memory:")
        self.lock = threading.RLock()
        self.faults = faults or FaultPlan()
        self.calls: list[str] = []
        self.met: Counter[Fault] = Counter()
        self.optimizing_polls = 0
        """How often a collection will still say that it is being optimised."""
        self._api_key = api_key
        self._extra: dict[str, _Extra] = {}
        self._ordered: list[tuple[str, Fault]] = []
        self._closing = threading.Event()
        self._server = StandInServer(self, tls)
        self.url = self._server.url

    def fail_next(self, call: str, *faults: Fault) -> None:
        """Let the next requests named `call` meet `faults`, one each."""
        with self.lock:
            self._ordered += [(call, fault) for fault in faults]

    def heal(self) -> None:
        """Meet no more faults, neither by order nor by the plan."""
        with self.lock:
            self._ordered.clear()
            self.faults = FaultPlan()

    def payload_indexes(self, collection: str) -> dict[str, str]:
        """Type by field of the payload indexes."""
        return {name: str(info.data_type.value) for name, info in self._extra[collection].payload_schema.items()}

    def indexing_threshold(self, collection: str) -> int:
        """Above how many kilobytes of vectors a graph is built; 0 while the optimiser is paused."""
        return self._extra[collection].indexing_threshold

    def params(self, collection: str) -> dict[str, Any]:
        """How the collection was asked to be laid out: shards, copies, quantisation, where the payload lies."""
        return self._extra[collection].params

    def __enter__(self) -> QdrantStandIn:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.stop()
        if kind is None and self._server.crashes:
            raise self._server.crashes[0]

    def draw(self, call: str) -> Fault | None:
        """The fault that a request meets: one that was ordered for it, else one by the plan."""
        with self.lock:
            self.calls.append(call)
            ordered = next((each for each in self._ordered if each[0] == call), None)
            if ordered:
                self._ordered.remove(ordered)
            fault = ordered[1] if ordered else self.faults.next()
            if fault:
                self.met[fault] += 1
            return fault

    def stall(self) -> None:
        """Wait until the client has given up."""
        self._closing.wait(self.faults.stall_s)

    @property
    def retry_after_s(self) -> int:
        """When a client that is told 429 shall come again."""
        return self.faults.retry_after_s

    def admits(self, key: str | None) -> bool:
        """Whether the key is right, or none is asked for."""
        return self._api_key in (None, key)

    def handle(self, route: str, name: str, body: Any) -> Any:
        """Answer one request: `route` as in `_ROUTES`, the collection's name, the parsed body."""
        with self.lock:
            return getattr(self, f"_{route}")(name, body)

    def _list_collections(self, _name: str, _body: Any) -> Any:
        return self.client.get_collections()

    def _exists(self, name: str, _body: Any) -> Any:
        return models.CollectionExistence(exists=self.client.collection_exists(name))

    def _get(self, name: str, _body: Any) -> Any:
        self._require(name)
        info = self.client.get_collection(name)
        extra = self._extra[self._resolve(name)]
        info.payload_schema = extra.payload_schema
        info.config.optimizer_config.indexing_threshold = extra.indexing_threshold
        if self.optimizing_polls:
            self.optimizing_polls -= 1
            info.status = models.CollectionStatus.YELLOW
        return info

    def _create(self, name: str, body: Any) -> Any:
        wanted = models.CreateCollection.model_validate(body)
        if self.client.collection_exists(name):
            raise Refusal(409, f"Wrong input: Collection `{name}` already exists!")
        self.client.create_collection(
            name,
            vectors_config=wanted.vectors,
            sparse_vectors_config=wanted.sparse_vectors,
            metadata=wanted.metadata,
        )
        laid_out = ("shard_number", "replication_factor", "on_disk_payload", "quantization_config")
        self._extra[name] = _Extra(params={key: body.get(key) for key in laid_out})
        if wanted.optimizers_config and wanted.optimizers_config.indexing_threshold is not None:
            self._extra[name].indexing_threshold = wanted.optimizers_config.indexing_threshold
        return True

    def _update(self, name: str, body: Any) -> Any:
        wanted = models.UpdateCollection.model_validate(body)
        self._require(name)
        if wanted.metadata is not None:
            self.client.update_collection(name, metadata=wanted.metadata)
        if wanted.optimizers_config and wanted.optimizers_config.indexing_threshold is not None:
            self._extra[self._resolve(name)].indexing_threshold = wanted.optimizers_config.indexing_threshold
        return True

    def _delete(self, name: str, _body: Any) -> Any:
        self._extra.pop(name, None)
        return bool(self.client.delete_collection(name)) if self.client.collection_exists(name) else False

    def _list_aliases(self, _name: str, _body: Any) -> Any:
        return self.client.get_aliases()

    def _change_aliases(self, _name: str, body: Any) -> Any:
        actions = models.ChangeAliasesOperation.model_validate(body).actions
        for action in actions:
            if isinstance(action, models.CreateAliasOperation):
                self._require(action.create_alias.collection_name)
        self.client.update_collection_aliases(actions)
        return True

    def _index_field(self, name: str, body: Any) -> Any:
        self._require(name)
        wanted = models.CreateFieldIndex.model_validate(body)
        info = models.PayloadIndexInfo(data_type=models.PayloadSchemaType(wanted.field_schema), points=0)
        self._extra[self._resolve(name)].payload_schema[wanted.field_name] = info
        return _updated()

    def _upsert(self, name: str, body: Any) -> Any:
        self._require(name)
        wanted = models.PointsList.model_validate(body)
        known = {record.id for record in self.client.retrieve(name, [point.id for point in wanted.points])}
        # Local mode normalises a new point in single and a known one in double precision. A server knows no such
        # difference, and a write that is repeated must leave the same bits: so every point is a known one.
        new = [models.PointStruct(id=point.id, vector={}) for point in wanted.points if point.id not in known]
        if new:
            self.client.upsert(name, new)
        self.client.upsert(name, wanted.points)
        return _updated()

    def _retrieve(self, name: str, body: Any) -> Any:
        self._require(name)
        wanted = models.PointRequest.model_validate(body)
        return self.client.retrieve(
            name, wanted.ids, with_payload=_or(wanted.with_payload, True), with_vectors=_or(wanted.with_vector, False)
        )

    def _scroll(self, name: str, body: Any) -> Any:
        self._require(name)
        wanted = models.ScrollRequest.model_validate(body)
        points, offset = self.client.scroll(
            name,
            scroll_filter=wanted.filter,
            limit=_or(wanted.limit, 10),
            offset=wanted.offset,
            with_payload=_or(wanted.with_payload, True),
            with_vectors=_or(wanted.with_vector, False),
        )
        return models.ScrollResult(points=points, next_page_offset=offset)

    def _count(self, name: str, body: Any) -> Any:
        self._require(name)
        wanted = models.CountRequest.model_validate(body)
        return self.client.count(name, count_filter=wanted.filter, exact=_or(wanted.exact, True))

    def _delete_points(self, name: str, body: Any) -> Any:
        self._require(name)
        wanted = _SELECTOR.validate_python(body)
        self.client.delete(name, wanted.points if isinstance(wanted, models.PointIdsList) else wanted)
        return _updated()

    def _batch(self, name: str, body: Any) -> Any:
        self._require(name)
        operations = models.UpdateOperations.model_validate(body).operations
        self.client.batch_update_points(name, operations)
        return [_updated() for _ in operations]

    def _query(self, name: str, body: Any) -> Any:
        self._require(name)
        return self.client.query_batch_points(name, [models.QueryRequest.model_validate(body)])[0]

    def _query_batch(self, name: str, body: Any) -> Any:
        self._require(name)
        return self.client.query_batch_points(name, models.QueryRequestBatch.model_validate(body).searches)

    def _facet(self, name: str, body: Any) -> Any:
        self._require(name)
        wanted = models.FacetRequest.model_validate(body)
        return self.client.facet(
            name, wanted.key, facet_filter=wanted.filter, limit=_or(wanted.limit, 10), exact=_or(wanted.exact, False)
        )

    def _resolve(self, name: str) -> str:
        aliases = {alias.alias_name: alias.collection_name for alias in self.client.get_aliases().aliases}
        return aliases.get(name, name)

    def _require(self, name: str) -> None:
        if self._resolve(name) not in self._extra:
            raise Refusal(404, f"Not found: Collection `{name}` doesn't exist!")


def _updated() -> models.UpdateResult:
    return models.UpdateResult(operation_id=0, status=models.UpdateStatus.COMPLETED)


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value
