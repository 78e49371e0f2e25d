"""The embedded engine: Qdrant Edge, in this process, one shard folder per collection.

```
<index>/aliases.json
<index>/<collection>/collection.json   what the collection records of itself, written last
<index>/<collection>/shard/            Qdrant Edge's own files
```

Edge has neither collections nor aliases; both are made here from folders and a file that is replaced atomically.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import qdrant_edge as edge

from retrieval.errors import IndexFailure, IndexLocked, InvalidRequest, NoCollection
from retrieval.index.filters import Filters, render_filter
from retrieval.index.interface import Collection, IndexPoint, Scored, SearchRequest, Stored, ranked
from retrieval.index.schema import ALIAS, DENSE_VECTORS, KEYWORD_FIELDS, SPARSE_VECTOR, CollectionMeta

_META = "collection.json"
_SHARD = "shard"
_ALIASES = "aliases.json"
_BM25 = edge.Bm25()


class EdgeIndex:
    """A folder of embedded collections. A collection is locked by the process that has it open."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.location = str(folder)
        self._open: dict[str, EdgeCollection] = {}
        self._lock = threading.Lock()

    def collections(self) -> dict[str, CollectionMeta]:
        """See `Index.collections`."""
        return {path.parent.name: _read_meta(path) for path in sorted(self.folder.glob(f"*/{_META}"))}

    def create(self, meta: CollectionMeta, *, name: str) -> Collection:
        """See `Index.create`."""
        folder = self._folder_of(name)
        if (folder / _META).exists():
            raise IndexFailure(f"the collection {name} exists already in {self.folder}")
        shutil.rmtree(folder, ignore_errors=True)  # what a killed `create` left
        (folder / _SHARD).mkdir(parents=True)
        shard = edge.EdgeShard.create(str(folder / _SHARD), _config(meta.dim))
        for field in KEYWORD_FIELDS:
            shard.update(edge.UpdateOperation.create_field_index(field, edge.PayloadSchemaType.Keyword))
        shard.flush()
        collection = EdgeCollection(name, folder, shard, meta)
        collection.record(meta)
        with self._lock:
            self._open[name] = collection
        return collection

    def open(self, name: str) -> Collection:
        """See `Index.open`.

        Raises:
            NoCollection: there is none of this name.
            IndexLocked: another process has it open.
        """
        with self._lock:
            if name not in self._open:
                folder = self._folder_of(name)
                if not (folder / _META).exists():
                    raise NoCollection(f"no collection {name} in {self.folder}; `cxr ingest` makes one")
                self._open[name] = EdgeCollection(name, folder, _load(folder), _read_meta(folder / _META))
            return self._open[name]

    def drop(self, name: str) -> None:
        """See `Index.drop`."""
        self.open(name)  # refuses while another process has it open
        with self._lock:
            self._open.pop(name).close()
        folder = self._folder_of(name)
        (folder / _META).unlink()
        shutil.rmtree(folder)
        aliases = self._aliases()
        if aliases.get(ALIAS) == name:
            _write_json(self.folder / _ALIASES, {key: value for key, value in aliases.items() if key != ALIAS})

    def active(self) -> str | None:
        """See `Index.active`."""
        return self._aliases().get(ALIAS)

    def activate(self, name: str) -> None:
        """See `Index.activate`. Needs no lock on the collection, so a running service can be switched from outside.

        Raises:
            NoCollection: there is none of this name.
        """
        if not (self._folder_of(name) / _META).exists():
            raise NoCollection(f"no collection {name} in {self.folder}; `cxr ingest` makes one")
        _write_json(self.folder / _ALIASES, self._aliases() | {ALIAS: name})

    def close(self) -> None:
        """See `Index.close`."""
        with self._lock:
            for collection in self._open.values():
                collection.close()
            self._open.clear()

    def _aliases(self) -> dict[str, str]:
        try:
            return msgspec.json.decode((self.folder / _ALIASES).read_bytes(), type=dict[str, str])
        except FileNotFoundError:
            return {}
        except msgspec.MsgspecError as error:
            raise IndexFailure(f"{self.folder / _ALIASES} is damaged: {error}; run `cxr use MODEL` anew") from error

    def _folder_of(self, name: str) -> Path:
        if not name or Path(name).name != name or name.startswith("."):
            raise InvalidRequest(f"{name!r} is no name of a collection")
        return self.folder / name


class EdgeCollection:
    """One open shard. The engine's calls release the GIL and may come from several threads."""

    def __init__(self, name: str, folder: Path, shard: edge.EdgeShard, meta: CollectionMeta) -> None:
        self.name = name
        self.meta = meta
        self._folder = folder
        self._shard = shard

    def upsert(self, points: Sequence[IndexPoint]) -> None:
        """See `Collection.upsert`."""
        if points:
            self._shard.update(edge.UpdateOperation.upsert_points([_to_edge(point) for point in points]))

    def fetch(self, point_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """See `Collection.fetch`."""
        found = self._shard.retrieve(list(point_ids), with_payload=True, with_vector=False)
        return {str(record.id): record.payload or {} for record in found}

    def search(self, request: SearchRequest) -> list[Scored]:
        """See `Collection.search`."""
        narrow = render_filter(request.filters, edge)
        names = [signal.name for signal in request.signals]
        nearest = [edge.Query.Nearest(signal.query.tolist(), using=signal.name) for signal in request.signals]
        if request.is_plain:
            plain = edge.QueryRequest(query=nearest[0], filter=narrow, limit=request.limit, with_payload=True)
            found = self._shard.query(plain)
            return ranked(found, [{str(point.id): point.score for point in found}], names)
        depth = max(request.candidates, request.limit)
        pool = edge.Prefetch(query=nearest[0], filter=narrow, limit=depth)
        rescored = [edge.Prefetch(prefetches=[pool], query=query, limit=depth) for query in nearest[1:]]
        summed = edge.QueryRequest(
            prefetches=[pool, *rescored], query=_formula(request), limit=request.limit, with_payload=True
        )
        # The same prefetches again, as queries: their scores are the raw values behind each hit's parts.
        raw = [edge.QueryRequest(query=nearest[0], filter=narrow, limit=depth)]
        raw += [edge.QueryRequest(prefetches=[pool], query=query, limit=depth) for query in nearest[1:]]
        found, *cosines = self._shard.query_batch(edge.QueryBatchRequest([summed, *raw]))
        by_id = [{str(point.id): point.score for point in points} for points in cosines]
        return ranked(found, by_id, names)

    def scroll(self, filters: Filters = Filters(), *, limit: int, vectors: Sequence[str] = ()) -> Iterator[Stored]:
        """See `Collection.scroll`."""
        records, _ = self._shard.scroll(
            edge.ScrollRequest(
                limit=limit, filter=render_filter(filters, edge), with_payload=True, with_vector=list(vectors)
            )
        )
        for record in records:
            dense = record.vector if isinstance(record.vector, dict) else {}
            arrays = {name: np.asarray(dense[name], dtype=np.float32) for name in vectors if name in dense}
            yield Stored(point_id=str(record.id), payload=record.payload or {}, vectors=arrays)

    def count(self, filters: Filters = Filters()) -> int:
        """See `Collection.count`."""
        return self._shard.count(edge.CountRequest(exact=True, filter=render_filter(filters, edge)))

    def facet(self, field: str, filters: Filters = Filters(), *, limit: int = 500) -> dict[str, int]:
        """See `Collection.facet`."""
        request = edge.FacetRequest(key=field, limit=limit, exact=True, filter=render_filter(filters, edge))
        hits = [(str(hit.value), hit.count) for hit in self._shard.facet(request).hits]
        return dict(sorted(hits, key=lambda hit: (-hit[1], hit[0])))

    def record(self, meta: CollectionMeta) -> None:
        """See `Collection.record`."""
        _write_json(self._folder / _META, msgspec.to_builtins(meta))
        self.meta = meta

    def optimize(self) -> None:
        """See `Collection.optimize`."""
        self._shard.optimize()
        self._shard.flush()

    def close(self) -> None:
        """Write everything out and release the lock."""
        self._shard.flush()
        self._shard.close()


def _config(dim: int) -> edge.EdgeConfig:
    dense = edge.EdgeVectorParams(size=dim, distance=edge.Distance.Cosine, datatype=edge.VectorStorageDatatype.Float16)
    return edge.EdgeConfig(
        vectors=dict.fromkeys(DENSE_VECTORS, dense),
        sparse_vectors={SPARSE_VECTOR: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)},
    )


def _load(folder: Path) -> edge.EdgeShard:
    try:
        return edge.EdgeShard.load(str(folder / _SHARD))
    except Exception as error:  # Edge raises its own exception type for everything
        if "WouldBlock" in str(error):
            raise IndexLocked(
                f"{folder} is in use by another process (a running `cxr serve` or `cxr ingest`?); "
                "stop it, ask it over HTTP, or use a Qdrant server (--index http://…) to share an index"
            ) from error
        raise IndexFailure(f"{folder} cannot be opened: {error}") from error


def _to_edge(point: IndexPoint) -> edge.Point:
    vectors: dict[str, Any] = {name: vector.tolist() for name, vector in point.vectors.items()}
    if point.text:
        vectors[SPARSE_VECTOR] = _BM25.embed_document(point.text)
    return edge.Point(point.point_id, vectors, msgspec.to_builtins(point.payload))


def _formula(request: SearchRequest) -> edge.Formula:
    """Sum of weight * (cosine - zero) / (one - zero) over the vectors, and weight * share of values over the overlaps."""
    term = edge.Expression
    terms = []
    for number, signal in enumerate(request.signals):
        slope = signal.weight / (signal.one - signal.zero)
        cosine = term.Sum([term.Variable(f"$score[{number}]"), term.Constant(-signal.zero)])
        terms.append(term.Mult([term.Constant(slope), cosine]))
    for overlap in request.overlaps:
        for value in overlap.values:
            has = term.Condition(edge.FieldCondition(key=overlap.name, match=edge.MatchValue(value=value)))
            terms.append(term.Mult([term.Constant(overlap.weight / len(overlap.values)), has]))
    unrelated = {f"$score[{number}]": signal.zero for number, signal in enumerate(request.signals)}
    return edge.Formula(term.Sum(terms), defaults=unrelated)


def _read_meta(path: Path) -> CollectionMeta:
    try:
        return msgspec.json.decode(path.read_bytes(), type=CollectionMeta)
    except msgspec.MsgspecError as error:
        raise IndexFailure(f"{path} is damaged: {error}; ingest the collection anew") from error


def _write_json(path: Path, document: Any) -> None:
    """Replace `path` in one step, so that a reader sees the old or the new content and never half of it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    draft.write_text(json.dumps(document, indent=2) + "\n")
    os.replace(draft, path)
