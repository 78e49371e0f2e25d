"""The embedded engine: Qdrant Edge, in this process, one shard folder per collection.

```
<index>/aliases.json
<index>/<collection>.lock              held by the process that has the collection open
<index>/<collection>/collection.json   what the collection records of itself, written last
<index>/<collection>/shard/            Qdrant Edge's own files, see `edge_shard`
```

Edge has neither collections nor aliases; both are made here from folders and a file that is replaced atomically.
"""

from __future__ import annotations

import shutil
import threading
from contextlib import ExitStack
from pathlib import Path

import msgspec

from retrieval.drafts import sweep_drafts
from retrieval.errors import CollectionExists, IndexFailure, InvalidRequest, NoCollection
from retrieval.index.edge_collection import META, EdgeCollection, write_json
from retrieval.index.edge_lock import FolderLock
from retrieval.index.edge_shard import create_shard, load_shard
from retrieval.index.interface import Collection
from retrieval.index.schema import ALIAS, PREVIOUS, CollectionLayout, CollectionMeta, moved_alias
from retrieval.watched import WatchedFile

_ALIASES = "aliases.json"


class EdgeIndex:
    """A folder of embedded collections. A collection is locked by the process that has it open."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.location = str(folder)
        self._open: dict[str, EdgeCollection] = {}
        self._lock = threading.Lock()
        self._watched_aliases = WatchedFile(folder / _ALIASES, self._read_aliases)  # every search asks

    def collections(self) -> dict[str, CollectionMeta]:
        """See `Index.collections`."""
        return {path.parent.name: _read_meta(path) for path in sorted(self.folder.glob(f"*/{META}"))}

    def require_layout(self, layout: CollectionLayout) -> None:
        """See `Index.require_layout`.

        Raises:
            InvalidRequest: it asks for more than one shard or copy.
        """
        if (layout.shards, layout.replicas) != (1, 1):
            raise InvalidRequest("an embedded index has one shard and one copy of it; use a server for more (--index)")

    def create(self, meta: CollectionMeta, *, name: str, layout: CollectionLayout = CollectionLayout()) -> Collection:
        """See `Index.create`.

        Raises:
            InvalidRequest: the layout asks for more than one shard or copy, which only a server has.
            IndexLocked: another process is making it.
        """
        self.require_layout(layout)
        folder = self._folder_of(name)
        with self._lock, ExitStack() as held:
            self._require_none(name)
            lock = held.enter_context(FolderLock(folder))
            self._require_none(name)  # it may have been made before the lock was ours
            shutil.rmtree(folder, ignore_errors=True)  # what a killed `create` left
            meta = msgspec.structs.replace(meta, layout=layout)
            collection = EdgeCollection(name, folder, create_shard(folder, meta), meta, lock)
            collection.record(meta)
            self._open[name] = collection
            held.pop_all()
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
                self._require(name)
                with ExitStack() as held:
                    lock = held.enter_context(FolderLock(folder))
                    self._require(name)  # it may have been dropped before the lock was ours
                    for swept in (folder, self.folder):
                        sweep_drafts(swept)
                    meta = _read_meta(folder / META)
                    self._open[name] = EdgeCollection(name, folder, load_shard(folder, meta), meta, lock)
                    held.pop_all()
            return self._open[name]

    def drop(self, name: str) -> None:
        """See `Index.drop`. Does not read the shard, so that a damaged one can be dropped, too.

        Raises:
            NoCollection: there is none of this name.
            IndexLocked: another process has it open.
        """
        folder = self._folder_of(name)
        with self._lock:
            self._require(name)
            if name in self._open:
                self._open.pop(name).close()
            with FolderLock(folder):
                # The alias goes first: cut off after it, what is left is a whole collection that is not active.
                aliases = self._aliases()
                if name in aliases.values():
                    write_json(self.folder / _ALIASES, {key: value for key, value in aliases.items() if value != name})
                (folder / META).unlink()
                shutil.rmtree(folder)

    def active(self) -> str | None:
        """See `Index.active`."""
        return self._aliases().get(ALIAS)

    def activate(self, name: str) -> None:
        """See `Index.activate`. Needs no lock on the collection, so a running service can be switched from outside.

        Raises:
            NoCollection: there is none of this name.
        """
        self._require(name)
        write_json(self.folder / _ALIASES, moved_alias(self._aliases(), name))

    def previous(self) -> str | None:
        """See `Index.previous`."""
        return self._aliases().get(PREVIOUS)

    def close(self) -> None:
        """See `Index.close`."""
        with self._lock:
            for collection in self._open.values():
                collection.close()
            self._open.clear()

    def _require(self, name: str) -> None:
        if not (self._folder_of(name) / META).exists():
            raise NoCollection(f"no collection {name} in {self.folder}; `cxr ingest` makes one")

    def _require_none(self, name: str) -> None:
        if (self._folder_of(name) / META).exists():
            raise CollectionExists(f"the collection {name} exists already in {self.folder}")

    def _aliases(self) -> dict[str, str]:
        return self._watched_aliases.read() or {}

    def _read_aliases(self) -> dict[str, str] | None:
        path = self.folder / _ALIASES
        try:
            return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as error:
            raise IndexFailure(f"{path} is damaged: {error}; run `cxr use MODEL` anew") from error

    def _folder_of(self, name: str) -> Path:
        if not name or Path(name).name != name or name.startswith("."):
            raise InvalidRequest(f"{name!r} is no name of a collection")
        return self.folder / name


def _read_meta(path: Path) -> CollectionMeta:
    try:
        return msgspec.json.decode(path.read_bytes(), type=CollectionMeta)
    except msgspec.MsgspecError as error:
        raise IndexFailure(f"{path} is damaged: {error}; remove {path.parent} and ingest anew") from error
