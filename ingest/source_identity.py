"""Checks that a dataset is filled from the same archive as before, and with the same salt.

The ledgers of a home know how the source of a dataset was opened last; then the paths decide. If the ledgers of this home
do not know the dataset (paths of another machine mean nothing here), a sample of its images decides: at least half of them
must be in the source, byte by byte. Collections record their last source in words, for messages.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import msgspec

from archives.source_spec import SourceSpec
from ingest.image_reader import read_bytes
from ingest.ledger import Ledger, ledger_path
from retrieval.errors import IndexFailure, RetrievalError, SourceDiffers
from retrieval.index.filters import Filters
from retrieval.index.interface import Collection, Index
from retrieval.index.schema import CollectionMeta, require_same_salt
from retrieval.records import ImageRecord, Pseudonymous, Source, studies_of

SAMPLE = 16
"""Images of the dataset that are looked for in a source that the ledgers of this home do not know."""


@dataclass(slots=True)
class AcceptedSource:
    """A source that may fill its dataset, with what the collection will record: source, salt; and messages for the user."""

    dataset: str
    source: str = ""
    salt: str = ""
    messages: list[str] = field(default_factory=list)

    def record(self, collection: Collection) -> None:
        """Record source and salt in the collection.

        Raises:
            SaltDiffers: another machine has created the collection in the meantime, with another salt.
        """
        require_same_salt(collection.meta, collection.name, self.salt)
        meta = collection.meta
        if self.salt and not meta.salt:
            meta = msgspec.structs.replace(meta, salt=self.salt)
        if self.source and meta.sources.get(self.dataset) != self.source:
            meta = msgspec.structs.replace(meta, sources=meta.sources | {self.dataset: self.source})
        if meta != collection.meta:
            collection.record(meta)

    def confirm(self, index: Index, name: str) -> None:
        """Check at the end of a run that no other machine has filled the collection with another salt at the same time.

        Raises:
            SaltDiffers: the collection holds ids of two salts.
        """
        if self.salt:
            require_same_salt(index.collections()[name], name, self.salt)


def admit(
    index: Index,
    home: Path | None,
    collection: str,
    source: Source,
    spec: SourceSpec | None,
    *,
    moved: bool = False,
    recreate: bool = False,
) -> AcceptedSource:
    """Check that `source` may fill its dataset in `collection`, before anything is changed.

    Args:
        index: The index.
        home: Folder with the ledgers; None if there are none.
        collection: Name of the collection, which may not exist yet. If it holds no image of the dataset, the collections of
            other models are compared instead.
        source: The whole source.
        spec: How the source was opened; without it only the salt is checked.
        moved: The user confirms that the archive of the dataset has moved.
        recreate: The collection will be dropped first.

    Raises:
        SourceDiffers: the dataset was filled from another source. SaltDiffers: its ids were made with another salt.
    """
    dataset = source.dataset
    salt = source.salt_fingerprint if isinstance(source, Pseudonymous) else ""
    metas = index.collections()
    own = None if recreate else metas.pop(collection, None)
    others = {name: meta for name, meta in metas.items() if name != collection and _may_hold(meta, dataset)}
    mine = {collection: own} if own else {}
    for name, meta in (mine | others).items():
        require_same_salt(meta, name, salt)
    if spec is None:
        return AcceptedSource(dataset, salt=salt)
    admitted = AcceptedSource(dataset, f"{spec.describe()} on {socket.gethostname()}", salt)
    if moved:
        return admitted
    holders = mine if mine and index.open(collection).count(Filters(dataset=dataset)) else others
    known = _latest_spec(home, index.location, list(holders), dataset)
    if known:
        if not known.is_same_source(spec):
            raise _differs(dataset, next(iter(holders)), known.describe(), spec)
    elif checked := next(_compare_samples(index, holders, source), None):
        name, same, sampled = checked
        recorded = holders[name].sources.get(dataset)
        if 2 * same < sampled:
            found = f"; of {sampled} images of the dataset, {same} are in this source"
            raise _differs(dataset, name, recorded or "a source that was not recorded", spec, found)
        origin = f"last filled from {recorded}" if recorded else "its source was not recorded"
        admitted.messages.append(
            f"{name} holds the dataset {dataset} ({origin}); {same} of {sampled} images compared are the same in "
            f"{spec.describe()}, which is recorded from now on"
        )
    return admitted


def _may_hold(meta: CollectionMeta, dataset: str) -> bool:
    return bool(meta.counts.get(dataset)) or not meta.complete


def _latest_spec(home: Path | None, location: str, collections: list[str], dataset: str) -> SourceSpec | None:
    """How the last run of this home on any of `collections` opened the source of the dataset."""
    found: list[tuple[str, SourceSpec]] = []
    for name in collections if home else []:
        path = ledger_path(home, location, name) if home else None
        if path and path.exists():
            with Ledger(path) as ledger:
                runs = (run for run in ledger.runs() if run.dataset == dataset and run.source)
                found += [(run.started_at, SourceSpec.from_dict(run.source)) for run in islice(runs, 1) if run.source]
    return max(found, key=lambda each: each[0])[1] if found else None


def _compare_samples(
    index: Index, holders: dict[str, CollectionMeta], source: Source
) -> Iterator[tuple[str, int, int]]:
    """For each collection with images of the dataset: its name, how many sampled images are in the source, sample size."""
    for name in holders:
        with contextlib.suppress(IndexFailure):  # locked by another process, or damaged
            # Ids are hashes, so the first points are a random sample.
            points = list(index.open(name).scroll(Filters(dataset=source.dataset), limit=SAMPLE))
            wanted = {str(point.payload["image_id"]): str(point.payload["image_sha256"]) for point in points}
            if wanted:
                yield name, len(_present(wanted, source)), len(wanted)


def _present(wanted: dict[str, str], source: Source) -> set[str]:
    """The image ids of `wanted` (SHA-256 by id) that the source has with the same content."""
    images = (image for study in studies_of(source) for image in study.images if image.image_id in wanted)
    return {image.image_id for image in images if _sha256(image) == wanted[image.image_id]}


def _sha256(image: ImageRecord) -> str:
    try:
        return hashlib.sha256(read_bytes(image)).hexdigest()
    except (RetrievalError, OSError):
        return ""


def _differs(dataset: str, collection: str, known: str, spec: SourceSpec, found: str = "") -> SourceDiffers:
    hint = ""
    if spec.kind == "dicom" and found:
        hint = (
            " (If it is the same archive, its ids were made with another salt. Then copy the file `salt` from the home that "
            "filled the dataset into this home, readable by its owner only)"
        )
    return SourceDiffers(
        f"the dataset {dataset} of {collection} was last filled from {known}; this is {spec.describe()}{found}. Nothing was "
        f"changed. Give another archive another name with --dataset NAME. If the archive has moved, or its table has a new "
        f"name, confirm that with --moved{hint}"
    )
