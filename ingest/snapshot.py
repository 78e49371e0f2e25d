"""A collection in one file, which either engine can restore.

The file is a zip of `head.json`, `points/000000.msgpack`, `points/000001.msgpack` and so on: pages of points in the order
of their ids, each with its payload and its vectors as little-endian float16. BM25 terms are computed from the payload
again. Nothing is extracted to disk, and no name in the zip is used as a path.
"""

from __future__ import annotations

import struct
import time
import uuid
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any, Literal

import msgspec
import numpy as np

from ingest.copied_points import pages, read_points
from ingest.transfer import Content, LoadOptions, TransferSummary, fill, open_copy_target
from retrieval.atomic_files import remove_abandoned_drafts, replace_file
from retrieval.errors import CollectionExists, IndexFailure, MissingFile, RetrievalError, SnapshotDamaged
from retrieval.index.completeness import RESTORE
from retrieval.index.interface import Collection, Index, IndexPoint
from retrieval.index.schema import DENSE_VECTORS, CollectionMeta, Payload, collection_name
from retrieval.progress import Progress

_MANIFEST = "head.json"
_MANIFEST_LIMIT_BYTES = 1 << 20
# A page of 200 points takes 2 MB at three vectors of 1152 dimensions and reports of 3 kB.
_PAGE_LIMIT_BYTES = 64 << 20
_DTYPE = np.dtype("<f2")
# Vectors hardly compress, and payloads compress well at any level.
_LEVEL = 1
# Exceptions of zipfile and msgspec for a file that is no zip, is cut off, or has a changed byte.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    KeyError,
    RuntimeError,
    ValueError,
    OverflowError,
    OSError,
    msgspec.MsgspecError,
)


class SnapshotManifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Description of a snapshot: the record of the collection, and the numbers of points and pages.

    `counts` are the images by dataset in this file.
    """

    format: Literal[1] = 1
    meta: CollectionMeta
    points: int
    pages: int
    counts: dict[str, int]
    created_at: str
    versions: dict[str, str] = {}


class _Packed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    payload: Payload
    vectors: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class SnapshotSummary:
    """Result of `create_snapshot`."""

    file: str
    collection: str
    points: int
    counts: dict[str, int]
    complete: bool
    size_bytes: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The document that `cxr snapshot create --json` prints."""
        return asdict(self)


def create_snapshot(
    collection: Collection, path: Path, *, notes: Path | None = None, progress: Progress | None = None
) -> SnapshotSummary:
    """Write `collection` to the file `path`; it appears, or is replaced, only when the new file was read back as whole.

    The file holds report texts; only its owner can read it. `notes` is the folder that lists unfinished files, see
    `retrieval.atomic_files`.

    Raises:
        IndexFailure: the collection is empty, or the index fails. SystemFailure or OSError: the file cannot be written.
    """
    started = time.perf_counter()
    remove_abandoned_drafts(path.parent)
    with replace_file(path, notes=notes, durable=True) as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
            _write(archive, collection, progress)
        with Snapshot(file, path) as written:
            written.check()
            manifest = written.manifest
    return SnapshotSummary(
        file=str(path),
        collection=collection.name,
        points=manifest.points,
        counts=manifest.counts,
        complete=manifest.meta.complete,
        size_bytes=path.stat().st_size,
        seconds=round(time.perf_counter() - started, 2),
    )


def restore_snapshot(
    path: Path, index: Index, options: LoadOptions = LoadOptions(), *, progress: Progress | None = None
) -> TransferSummary:
    """Make the collection that the file `path` holds. The whole file is checked before anything is changed.

    A restore that fails leaves no collection. A killed restore leaves an incomplete one, which the next restore replaces.

    Raises:
        MissingFile: there is no such file. SnapshotDamaged: it is incomplete or was changed.
        CollectionExists: a collection of this name exists, and it is not to be recreated.
        InvalidRequest: the engine does not support the layout. IndexFailure: the index fails.
        TransferFailed: the restored collection differs from the file.
    """
    with open_snapshot(path) as snapshot:
        snapshot.check()
        name = collection_name(snapshot.manifest.meta.model)
        found = index.collections().get(name)
        if found and RESTORE in (found.pending or ()):
            options = replace(options, recreate=True)
        elif found and not options.recreate:
            raise CollectionExists(f"the collection {name} already exists in {index.location}; --recreate replaces it")
        content = Content(snapshot.manifest.meta, snapshot.manifest.points, snapshot.points())
        target = open_copy_target(content, index, name, options, job=RESTORE)
        try:
            return fill(target, content, progress=progress)
        except BaseException:
            with suppress(RetrievalError):  # report the first error
                index.drop(name)
            raise


class Snapshot:
    """An open snapshot file. Pages are read one at a time."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        """Read the manifest of `file`, which the caller closes; messages name it `path`.

        Raises:
            SnapshotDamaged: it is no snapshot, or of another format.
        """
        self._path = path
        with self._report_damage():
            self._archive = zipfile.ZipFile(file)
            data = self._read(_MANIFEST, _MANIFEST_LIMIT_BYTES)
            found = msgspec.json.decode(data, type=dict[str, Any]).get("format")
            if found != 1:
                raise SnapshotDamaged(f"{path} is a snapshot of format {found}; this version reads format 1")
            self.manifest = msgspec.json.decode(data, type=SnapshotManifest)

    def check(self) -> None:
        """Read the whole file and check checksums, types, sizes, order and counts.

        Raises:
            SnapshotDamaged: naming what is wrong.
        """
        counts: Counter[str] = Counter()
        last = ""
        for point in self.points():
            if point.point_id <= last:
                raise SnapshotDamaged(f"{self._path} is damaged: point {point.point_id} is out of order")
            last = point.point_id
            counts[point.payload.dataset] += 1
        if (counts.total(), dict(counts)) != (self.manifest.points, self.manifest.counts):
            raise SnapshotDamaged(
                f"{self._path} is damaged: it holds {counts.total():,} points, and its manifest says "
                f"{self.manifest.points:,}"
            )

    def points(self) -> Iterator[IndexPoint]:
        """All points, in the order of their ids.

        Raises:
            SnapshotDamaged: naming what is wrong.
        """
        for number in range(self.manifest.pages):
            with self._report_damage():
                data = self._read(_page_name(number), _PAGE_LIMIT_BYTES)
                page = [self._unpack(packed) for packed in msgspec.msgpack.decode(data, type=list[_Packed])]
            yield from page

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    def _read(self, name: str, limit_bytes: int) -> bytes:
        entry = self._archive.getinfo(name)
        if entry.file_size > limit_bytes:
            raise SnapshotDamaged(
                f"{self._path} is damaged: {name} announces {entry.file_size:,} bytes, the limit is {limit_bytes:,}"
            )
        return self._archive.read(entry)  # reads no more than the announced size, and verifies the checksum

    def _unpack(self, packed: _Packed) -> IndexPoint:
        if str(uuid.UUID(packed.id)) != packed.id:
            raise SnapshotDamaged(f"{self._path} is damaged: {packed.id!r} is not the id of a point")
        dim = self.manifest.meta.dim
        vectors = {}
        for name, data in packed.vectors.items():
            vector = np.frombuffer(data, dtype=_DTYPE).astype(np.float32)
            if name not in DENSE_VECTORS or vector.size != dim or not np.isfinite(vector).all():
                raise SnapshotDamaged(f"{self._path} is damaged: point {packed.id} has no valid vector {name!r}")
            vectors[name] = vector
        return IndexPoint(packed.id, vectors, packed.payload.report_text, packed.payload)

    @contextmanager
    def _report_damage(self) -> Iterator[None]:
        try:
            yield
        except _DAMAGE as error:
            raise SnapshotDamaged(f"{self._path} is damaged, or not a snapshot: {error}") from error


@contextmanager
def open_snapshot(path: Path) -> Iterator[Snapshot]:
    """The snapshot in the file `path`.

    Raises:
        MissingFile: there is no such file. SnapshotDamaged: it is no snapshot, or of another format.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError as error:
        raise MissingFile(f"there is no file {path}") from error
    with file, Snapshot(file, path) as snapshot:
        yield snapshot


def _write(archive: zipfile.ZipFile, collection: Collection, progress: Progress | None) -> None:
    total = collection.count()
    counts: Counter[str] = Counter()
    number = 0
    for number, page in enumerate(pages(read_points(collection)), 1):
        archive.writestr(_page_name(number - 1), msgspec.msgpack.encode([_pack(point) for point in page]))
        counts.update(point.payload.dataset for point in page)
        if progress:
            progress(counts.total(), total)
    if not counts:
        raise IndexFailure(f"the collection {collection.name} is empty; there is nothing to save")
    manifest = SnapshotManifest(
        meta=collection.meta,
        points=counts.total(),
        pages=number,
        counts=dict(sorted(counts.items())),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=_versions(),
    )
    archive.writestr(_MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))


def _pack(point: IndexPoint) -> _Packed:
    vectors = {name: vector.astype(_DTYPE).tobytes() for name, vector in point.vectors.items()}
    return _Packed(point.point_id, point.payload, vectors)


def _page_name(number: int) -> str:
    return f"points/{number:06}.msgpack"


def _versions() -> dict[str, str]:
    found = {}
    for name in ("cxr-retrieval", "qdrant-edge-py"):
        with suppress(PackageNotFoundError):  # a checkout that is not installed
            found[name] = version(name)
    return found
