"""The embedded engine: Qdrant Edge, in this process, one shard folder per collection.

```
<index>/aliases.json
<index>/<collection>.lock              locked by the process that has the collection open
<index>/<collection>/collection.json   the record of the collection, see `CollectionMeta`
<index>/<collection>/shard/            files of Qdrant Edge, see `retrieval.index.edge.shard`
```

Edge has neither collections nor aliases. Here they are folders, and a file that is replaced atomically.
"""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack
from pathlib import Path

import msgspec

from retrieval.atomic_files import find_drafts, remove_abandoned_drafts, remove_folder, replace_folder
from retrieval.disk_space import extent_of, require_space
from retrieval.errors import AliasDamaged, CollectionExists, InvalidRequest, NoCollection
from retrieval.index.edge.collection import META, EdgeCollection, write_json
from retrieval.index.edge.lock import FolderLock
from retrieval.index.edge.shard import SHARD, create_shard, load_shard
from retrieval.index.interface import Collection
from retrieval.index.schema import (
    ALIAS,
    PREFIX,
    PREVIOUS,
    CollectionLayout,
    CollectionMeta,
    damaged_collection,
    moved_alias,
)
from retrieval.watched_file import WatchedFile

_ALIASES = "aliases.json"
# The files of an empty collection, mostly holes, which a file system in memory allocates at once.
_EMPTY_BYTES = 270 << 20


class EdgeIndex:
    """A folder of embedded collections. The process that has a collection open locks it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.location = str(folder)
        self._open: dict[str, EdgeCollection] = {}
        self._lock = threading.Lock()
        self._watched_aliases = WatchedFile(folder / _ALIASES, self._read_aliases)  # read by every search

    def collections(self) -> dict[str, CollectionMeta]:
        """See `Index.collections`."""
        return {name: found for name, found in self._inspect().items() if isinstance(found, CollectionMeta)}

    def damaged(self) -> dict[str, str]:
        """See `Index.damaged`."""
        return {name: found for name, found in self._inspect().items() if isinstance(found, str)}

    def _inspect(self) -> dict[str, CollectionMeta | str]:
        """The record of each collection, or a description of its damage."""
        found: dict[str, CollectionMeta | str] = {}
        for path in sorted(self.folder.glob("[!.]*")):
            if path.suffix == ".lock" or not (path.name.startswith(PREFIX) or (path / META).exists()):
                continue
            try:
                found[path.name] = _read_meta(path)
            except _Damage as damage:
                found[path.name] = str(damage)
        return found

    def require_layout(self, layout: CollectionLayout) -> None:
        """See `Index.require_layout`.

        Raises:
            InvalidRequest: it has more than one shard or replica.
        """
        if (layout.shards, layout.replicas) != (1, 1):
            raise InvalidRequest("an embedded index has one shard and one replica; use a server for more (--index)")

    def create(self, meta: CollectionMeta, *, name: str, layout: CollectionLayout = CollectionLayout()) -> Collection:
        """See `Index.create`.

        Raises:
            InvalidRequest: the layout has more than one shard or replica, which only a server supports.
            DiskFull: the disk has no space.
            IndexLocked: another process is creating it.
        """
        self.require_layout(layout)
        folder = self._folder_of(name)
        with self._lock, ExitStack() as held:
            self._require_absent(name)
            lock = held.enter_context(FolderLock(folder))
            self._require_absent(name)  # another process may have made it before this one had the lock
            meta = msgspec.structs.replace(meta, layout=layout)
            require_space(self.folder, _EMPTY_BYTES, f"making the collection {name}")
            with replace_folder(folder) as draft:
                create_shard(draft, meta)
                write_json(draft / META, msgspec.to_builtins(meta))
            collection = EdgeCollection(name, folder, load_shard(folder, meta), meta, lock)
            self._open[name] = collection
            held.pop_all()
        return collection

    def open(self, name: str) -> Collection:
        """See `Index.open`.

        Raises:
            NoCollection: there is none of this name. CollectionDamaged: it cannot be read.
            IndexLocked: another process has it open.
        """
        with self._lock:
            if name not in self._open:
                folder = self._folder_of(name)
                self._require(name)
                with ExitStack() as held:
                    lock = held.enter_context(FolderLock(folder))
                    self._require(name)  # another process may have dropped it before this one had the lock
                    for parent in (folder, self.folder):
                        remove_abandoned_drafts(parent)
                    try:
                        meta = _read_meta(folder)
                    except _Damage as damage:
                        raise damaged_collection(name, self.location, str(damage)) from damage
                    self._open[name] = EdgeCollection(name, folder, load_shard(folder, meta), meta, lock)
                    held.pop_all()
            return self._open[name]

    def drop(self, name: str) -> None:
        """See `Index.drop`. Does not read the shard, so that a damaged one can be dropped.

        Raises:
            NoCollection: there is none of this name.
            IndexLocked: another process has it open.
        """
        folder = self._folder_of(name)
        drafts = find_drafts(folder)
        remove_abandoned_drafts(self.folder)
        with self._lock:
            if not os.path.lexists(folder) and any(not draft.exists() for draft in drafts):
                return  # a killed `drop` was completed
            self._require(name)
            if name in self._open:
                self._open.pop(name).close()
            with FolderLock(folder):
                # The alias first: an interruption then leaves an intact collection that is not active.
                aliases = self._aliases_if_readable()
                if name in aliases.values():
                    write_json(self.folder / _ALIASES, {key: value for key, value in aliases.items() if value != name})
                remove_folder(folder)

    def active(self) -> str | None:
        """See `Index.active`."""
        return self._aliases().get(ALIAS)

    def activate(self, name: str) -> None:
        """See `Index.activate`. Needs no lock on the collection, so that another process can switch a running service.

        Raises:
            NoCollection: there is none of this name.
        """
        self._require(name)
        remove_abandoned_drafts(self.folder)
        write_json(self.folder / _ALIASES, moved_alias(self._aliases_if_readable(), name))

    def previous(self) -> str | None:
        """See `Index.previous`."""
        return self._aliases().get(PREVIOUS)

    def disk_bytes(self, name: str) -> int | None:
        """See `Index`; Edge reserves more than it fills, and holes do not count."""
        return extent_of(self._folder_of(name)).allocated

    def close(self) -> None:
        """See `Index.close`."""
        with self._lock:
            for collection in self._open.values():
                collection.close()
            self._open.clear()

    def _require(self, name: str) -> None:
        if not os.path.lexists(self._folder_of(name)):
            raise NoCollection(f"no collection {name} in {self.folder}; `cxr ingest` makes one")

    def _require_absent(self, name: str) -> None:
        if os.path.lexists(self._folder_of(name)):
            raise CollectionExists(f"the collection {name} already exists in {self.folder}")

    def _aliases(self) -> dict[str, str]:
        return self._watched_aliases.read() or {}

    def _aliases_if_readable(self) -> dict[str, str]:
        """As `_aliases`; empty if the file is damaged, since the caller replaces it."""
        try:
            return self._aliases()
        except AliasDamaged:
            return {}

    def _read_aliases(self) -> dict[str, str] | None:
        path = self.folder / _ALIASES
        try:
            return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError, RecursionError) as error:
            remedy = "remove that folder, then " if path.is_dir() else ""
            raise AliasDamaged(
                f"{path}, the record of the active model, is damaged: {_reason(error)}; "
                f"{remedy}`cxr use MODEL` writes it again"
            ) from error

    def _folder_of(self, name: str) -> Path:
        if not name or Path(name).name != name or name.startswith("."):
            raise InvalidRequest(f"{name!r} is not a valid name of a collection")
        return self.folder / name


class _Damage(Exception):
    """Damage of a collection, described without its folder."""


def _read_meta(folder: Path) -> CollectionMeta:
    if not folder.is_dir():
        raise _Damage("it is not a folder")
    try:
        content = (folder / META).read_bytes()
    except FileNotFoundError:
        raise _Damage(f"{META} is missing") from None
    except OSError as error:
        raise _Damage(f"{META} cannot be read: {_reason(error)}") from error
    if not content:
        raise _Damage(f"{META} is empty")
    try:
        meta = msgspec.json.decode(content, type=CollectionMeta)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise _Damage(f"{META} has been changed: {_reason(error)}") from error
    if not (folder / SHARD).is_dir():
        raise _Damage(f"the folder {SHARD} is missing")
    return meta


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
