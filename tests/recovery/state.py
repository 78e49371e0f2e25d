"""Everything that an ingest writes, in a form that can be compared bit for bit."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import qdrant_edge as edge
from qdrant_client import models

from retrieval.index.edge.index import EdgeIndex
from retrieval.index.schema import DENSE_VECTORS, SPARSE_VECTOR, CollectionMeta
from tests.qdrant.node import QdrantNode
from tests.recovery.qdrant_stand_in import QdrantStandIn

_VECTORS = [*DENSE_VECTORS, SPARSE_VECTOR]


@dataclass(frozen=True)
class State:
    """Points by id, each with its payload (without the time of the ingest) and its vectors, as the engine returns them.

    `ledger` holds the rows of each table, `media` the hash of each file by name, `unexpected_files` all other files.
    """

    points: dict[str, tuple[dict[str, Any], dict[str, Any]]]
    meta: CollectionMeta
    aliases: dict[str, str | None]
    payload_indexes: dict[str, str]
    ledger: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    media: dict[str, str] = field(default_factory=dict)
    unexpected_files: list[str] = field(default_factory=list)


def read_edge(home: Path, collection: str, *, ledger: str | None = None) -> State:
    """The state of an embedded index; `ledger` names its ledger if the home has several."""
    index = EdgeIndex(home / "index")
    meta = index.collections()[collection]
    aliases = {"active": index.active(), "previous": index.previous()}
    shard = edge.EdgeShard.load(str(home / "index" / collection / "shard"))
    records, offset = shard.scroll(edge.ScrollRequest(limit=100_000, with_payload=True, with_vector=_VECTORS))
    assert offset is None
    schema = {name: f"{info.data_type} {info.points}" for name, info in shard.info().payload_schema.items()}
    shard.close()
    return State(_points(records), _without_time(meta), aliases, schema, *_read_files(home, ledger or "*"))


def read_server(server: QdrantStandIn, home: Path, collection: str) -> State:
    """The state of a collection on a server, and of the home that was ingested into it."""
    with server.lock:
        metadata = server.client.get_collection(collection).config.metadata
        records, offset = server.client.scroll(collection, limit=100_000, with_vectors=True)
        aliases = {alias.alias_name: alias.collection_name for alias in server.client.get_aliases().aliases}
        schema = server.payload_indexes(collection)
    assert offset is None
    return State(
        _points(records), _without_time(msgspec.convert(metadata, CollectionMeta)), aliases, schema, *_read_files(home)
    )


def read_node(node: QdrantNode, collection: str) -> State:
    """The state of a collection on a real server, without files."""
    info = node.result("GET", f"/collections/{collection}")
    body = {"limit": 100_000, "with_vector": True, "with_payload": True}
    page = node.result("POST", f"/collections/{collection}/points/scroll", body)
    assert page["next_page_offset"] is None
    aliases = {each["alias_name"]: each["collection_name"] for each in node.result("GET", "/aliases")["aliases"]}
    return State(
        _points(models.Record(**record) for record in page["points"]),
        _without_time(msgspec.convert(info["config"]["metadata"], CollectionMeta)),
        aliases,
        {name: each["data_type"] for name, each in info["payload_schema"].items()},
    )


def differences(found: State, expected: State) -> list[str]:
    """The differences as lines of text, with the first few points and rows."""
    lines = [
        f"{name}: {getattr(found, name)} instead of {getattr(expected, name)}"
        for name in ("meta", "aliases", "payload_indexes")
        if getattr(found, name) != getattr(expected, name)
    ]
    lines += _describe_differences("points", found.points, expected.points)
    lines += _describe_differences("media", found.media, expected.media)
    for table in expected.ledger:
        lines += _describe_differences(table, dict.fromkeys(found.ledger[table]), dict.fromkeys(expected.ledger[table]))
    return lines


def _describe_differences(what: str, found: Mapping[Any, Any], expected: Mapping[Any, Any]) -> list[str]:
    missing = [key for key in expected if key not in found]
    surplus = [key for key in found if key not in expected]
    changed = [key for key in expected if key in found and found[key] != expected[key]]
    lines = [f"{what}: {len(keys)} {word}, the first {keys[0]}" for word, keys in
             (("missing", missing), ("too many", surplus), ("different", changed)) if keys]  # fmt: skip
    return lines + [f"  {found[key]} instead of {expected[key]}" for key in changed[:2]]


def _points(records: Iterable[Any]) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    return {
        str(record.id): (
            {name: value for name, value in (record.payload or {}).items() if name != "ingested_at"},
            {name: _comparable(vector) for name, vector in (record.vector or {}).items()},
        )
        for record in records
    }


def _comparable(vector: Any) -> Any:
    if isinstance(vector, list):
        return vector
    return dict(sorted(zip(vector.indices, vector.values, strict=True)))


def _without_time(meta: CollectionMeta) -> CollectionMeta:
    return msgspec.structs.replace(meta, created_at="")


def _read_files(home: Path, ledger: str = "*") -> tuple[dict[str, list[tuple[Any, ...]]], dict[str, str], list[str]]:
    ledgers = list(home.glob(f"ledger/*/{ledger}.sqlite"))
    assert len(ledgers) == 1
    media = {
        str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in home.rglob("media/**/*")
        if path.is_file()
    }
    expected = {"collection.json", "aliases.json"}
    unexpected_files = [str(path) for path in home.glob("media/**/*") if path.is_file() and path.suffix != ".webp"]
    unexpected_files += [
        str(path)
        for path in (*home.glob("index/*"), *home.glob("index/*/*"))
        if path.is_file() and path.name not in expected and path.suffix != ".lock"
    ]
    unexpected_files += [str(path) for path in home.glob("ledger/*/*") if ".sqlite" not in path.name]
    return _read_ledger(ledgers[0]), media, unexpected_files


def _read_ledger(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    queries = {
        "files": "SELECT * FROM files",
        "quarantine": "SELECT dataset, name, code, detail FROM quarantine",
        "texts": "SELECT * FROM texts",
    }
    with sqlite3.connect(path) as database:
        rows = {name: sorted(database.execute(query).fetchall()) for name, query in queries.items()}
    database.close()
    return rows
