"""The server engine: a Qdrant server or cluster, through qdrant-client."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, cast

import msgspec
import numpy as np
import qdrant_edge as edge
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from retrieval.errors import IndexFailure, IndexUnreachable, NoCollection
from retrieval.index.filters import Filters, render_filter
from retrieval.index.interface import Collection, IndexPoint, Scored, SearchRequest, Stored, ranked
from retrieval.index.schema import ALIAS, DENSE_VECTORS, KEYWORD_FIELDS, SPARSE_VECTOR, CollectionMeta

# Tokens come from Edge's BM25 on both engines, so that both index the same terms.
_BM25 = edge.Bm25()


class ServerIndex:
    """The collections of a server. Wraps any `QdrantClient`, which the tests use to run it on the local mode."""

    def __init__(self, client: QdrantClient, location: str) -> None:
        self.location = location
        self._client = cast(QdrantClient, _Translated(client, location))

    @classmethod
    def connect(cls, url: str, *, api_key: str | None, timeout_s: int) -> ServerIndex:
        """Connect to the server at `url`.

        Raises:
            IndexUnreachable: it does not answer, or refuses the key.
        """
        client = QdrantClient(url=url, api_key=api_key, timeout=timeout_s, check_compatibility=False)
        try:
            client.get_collections()
        except (ResponseHandlingException, UnexpectedResponse) as error:
            client.close()
            raise IndexUnreachable(
                f"the Qdrant server at {url} does not answer as expected: {error}; "
                "is it running, and is CXR_INDEX_API_KEY right?"
            ) from error
        return cls(client, url)

    def collections(self) -> dict[str, CollectionMeta]:
        """See `Index.collections`. Collections without our record are not ours and are left out."""
        found = {}
        for description in self._client.get_collections().collections:
            meta = self._meta_of(description.name)
            if meta is not None:
                found[description.name] = meta
        return dict(sorted(found.items()))

    def create(self, meta: CollectionMeta, *, name: str) -> Collection:
        """See `Index.create`."""
        if self._client.collection_exists(name):
            raise IndexFailure(f"the collection {name} exists already at {self.location}")
        dense = models.VectorParams(
            size=meta.dim, distance=models.Distance.COSINE, datatype=models.Datatype.FLOAT16, on_disk=True
        )
        self._client.create_collection(
            name,
            vectors_config=dict.fromkeys(DENSE_VECTORS, dense),
            sparse_vectors_config={SPARSE_VECTOR: models.SparseVectorParams(modifier=models.Modifier.IDF)},
            on_disk_payload=True,
            metadata=msgspec.to_builtins(meta),
        )
        for field in KEYWORD_FIELDS:
            self._client.create_payload_index(name, field, models.PayloadSchemaType.KEYWORD)
        return self.open(name)

    def open(self, name: str) -> Collection:
        """See `Index.open`.

        Raises:
            NoCollection: there is none of this name, or it is not one of this project's.
        """
        # Read anew each time: others may rebuild the collection.
        meta = self._meta_of(name) if self._client.collection_exists(name) else None
        if meta is None:
            raise NoCollection(f"no collection {name} at {self.location}; `cxr ingest` makes one")
        return ServerCollection(name, self._client, meta)

    def drop(self, name: str) -> None:
        """See `Index.drop`."""
        self.open(name)
        self._client.delete_collection(name)

    def active(self) -> str | None:
        """See `Index.active`."""
        aliases = self._client.get_aliases().aliases
        return next((alias.collection_name for alias in aliases if alias.alias_name == ALIAS), None)

    def activate(self, name: str) -> None:
        """See `Index.activate`.

        Raises:
            NoCollection: there is none of this name.
        """
        self.open(name)
        operations: list[Any] = [
            models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=name, alias_name=ALIAS))
        ]
        if self.active() is not None:
            operations.insert(0, models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=ALIAS)))
        self._client.update_collection_aliases(operations)

    def close(self) -> None:
        """See `Index.close`."""
        self._client.close()

    def _meta_of(self, name: str) -> CollectionMeta | None:
        recorded = self._client.get_collection(name).config.metadata
        try:
            return msgspec.convert(recorded, CollectionMeta)
        except msgspec.ValidationError:
            return None


class _Translated:
    """A client whose failures are errors of the project."""

    def __init__(self, client: QdrantClient, location: str) -> None:
        self._client = client
        self._location = location

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)

        @functools.wraps(call)
        def translated(*values: Any, **named: Any) -> Any:
            try:
                return call(*values, **named)
            except ResponseHandlingException as error:
                raise IndexUnreachable(f"the Qdrant server at {self._location} does not answer: {error}") from error
            except UnexpectedResponse as error:
                raise IndexFailure(f"the Qdrant server at {self._location} refuses {name}: {error}") from error

        return translated


class ServerCollection:
    """One collection of a server."""

    def __init__(self, name: str, client: QdrantClient, meta: CollectionMeta) -> None:
        self.name = name
        self.meta = meta
        self._client = client

    def upsert(self, points: Sequence[IndexPoint]) -> None:
        """See `Collection.upsert`."""
        if points:
            self._client.upsert(self.name, [_to_server(point) for point in points], wait=True)

    def fetch(self, point_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """See `Collection.fetch`."""
        found = self._client.retrieve(self.name, list(point_ids), with_payload=True)
        return {str(record.id): record.payload or {} for record in found}

    def search(self, request: SearchRequest) -> list[Scored]:
        """See `Collection.search`."""
        narrow = render_filter(request.filters, models)
        names = [signal.name for signal in request.signals]
        nearest = [models.NearestQuery(nearest=signal.query.tolist()) for signal in request.signals]
        if request.is_plain:
            found = self._client.query_points(
                self.name, query=nearest[0], using=names[0], query_filter=narrow, limit=request.limit
            ).points
            return ranked(found, [{str(point.id): point.score for point in found}], names)
        depth = max(request.candidates, request.limit)
        pool = models.Prefetch(query=nearest[0], using=names[0], filter=narrow, limit=depth)
        rescored = [
            models.Prefetch(prefetch=[pool], query=query, using=name, limit=depth)
            for query, name in zip(nearest[1:], names[1:], strict=True)
        ]
        summed = models.QueryRequest(
            prefetch=[pool, *rescored], query=_formula(request), limit=request.limit, with_payload=True
        )
        # The same prefetches again, as queries: their scores are the raw values behind each hit's parts.
        raw = [models.QueryRequest(query=nearest[0], using=names[0], filter=narrow, limit=depth)]
        raw += [
            models.QueryRequest(prefetch=[pool], query=query, using=name, limit=depth)
            for query, name in zip(nearest[1:], names[1:], strict=True)
        ]
        answers = self._client.query_batch_points(self.name, [summed, *raw])
        found, *cosines = [answer.points for answer in answers]
        by_id = [{str(point.id): point.score for point in points} for points in cosines]
        return ranked(found, by_id, names)

    def scroll(self, filters: Filters = Filters(), *, limit: int, vectors: Sequence[str] = ()) -> Iterator[Stored]:
        """See `Collection.scroll`."""
        records, _ = self._client.scroll(
            self.name,
            scroll_filter=render_filter(filters, models),
            limit=limit,
            with_payload=True,
            with_vectors=list(vectors),
        )
        for record in records:
            dense = record.vector if isinstance(record.vector, dict) else {}
            arrays = {name: np.asarray(dense[name], dtype=np.float32) for name in vectors if name in dense}
            yield Stored(point_id=str(record.id), payload=record.payload or {}, vectors=arrays)

    def count(self, filters: Filters = Filters()) -> int:
        """See `Collection.count`."""
        return self._client.count(self.name, count_filter=render_filter(filters, models), exact=True).count

    def facet(self, field: str, filters: Filters = Filters(), *, limit: int = 500) -> dict[str, int]:
        """See `Collection.facet`."""
        answer = self._client.facet(
            self.name, key=field, facet_filter=render_filter(filters, models), limit=limit, exact=True
        )
        hits = [(str(hit.value), hit.count) for hit in answer.hits]
        return dict(sorted(hits, key=lambda hit: (-hit[1], hit[0])))

    def record(self, meta: CollectionMeta) -> None:
        """See `Collection.record`."""
        self._client.update_collection(self.name, metadata=msgspec.to_builtins(meta))
        self.meta = meta

    def optimize(self) -> None:
        """See `Collection.optimize`. A server optimises by itself."""


def _to_server(point: IndexPoint) -> models.PointStruct:
    vectors: dict[str, Any] = {name: vector.tolist() for name, vector in point.vectors.items()}
    if point.text:
        sparse = _BM25.embed_document(point.text)
        vectors[SPARSE_VECTOR] = models.SparseVector(indices=sparse.indices, values=sparse.values)
    return models.PointStruct(id=point.point_id, vector=vectors, payload=msgspec.to_builtins(point.payload))


def _formula(request: SearchRequest) -> models.FormulaQuery:
    """Sum of weight * (cosine - zero) / (one - zero) over the vectors, and weight * share of values over the overlaps."""
    terms: list[Any] = []
    for number, signal in enumerate(request.signals):
        slope = signal.weight / (signal.one - signal.zero)
        terms.append(models.MultExpression(mult=[slope, models.SumExpression(sum=[f"$score[{number}]", -signal.zero])]))
    for overlap in request.overlaps:
        for value in overlap.values:
            has = models.FieldCondition(key=overlap.name, match=models.MatchValue(value=value))
            terms.append(models.MultExpression(mult=[overlap.weight / len(overlap.values), has]))
    unrelated = {f"$score[{number}]": signal.zero for number, signal in enumerate(request.signals)}
    return models.FormulaQuery(formula=models.SumExpression(sum=terms), defaults=unrelated)
