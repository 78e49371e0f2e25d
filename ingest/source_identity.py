"""Which archive a dataset was last filled from, and with which salt: two archives never share a dataset unasked.

In one home the ledgers remember how a dataset's source was opened, and paths decide. A path of another machine says
nothing here; so where the ledgers of this home know nothing of the dataset, its images decide: of a sample that the index
holds, at least half must be in the source, byte by byte. Collections record the last source in words, for messages.
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

from archives.source_part import SourcePart
from archives.source_spec import SourceSpec
from ingest.image_reader import read_bytes
from ingest.ledger import Ledger, ledger_path
from retrieval.errors import IndexFailure, RetrievalError, SourceDiffers
from retrieval.index.filters import Filters
from retrieval.index.interface import Collection, Index
from retrieval.index.schema import CollectionMeta, require_same_salt
from retrieval.records import ImageRecord, Pseudonymous, Source, studies_of

SAMPLE = 16
"""Images of a dataset that are looked for in a source of which this home knows nothing."""


@dataclass(slots=True)
class Admission:
    """A source that may be ingested under the name of its dataset, with what the collection shall record of it."""

    dataset: str
    source: str = ""
    salt: str = ""
    messages: list[str] = field(default_factory=list)

    def record(self, collection: Collection) -> None:
        """Let the collection remember source and salt.

        Raises:
            SaltDiffers: another machine made the collection meanwhile, with another salt.
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
        """Make sure at the end of a run that no other machine began at the same moment, with another salt.

        Raises:
            SaltDiffers: one did; the collection holds ids of both.
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
) -> Admission:
    """Decide whether `source` may fill its dataset in `collection`, which may not exist yet, before anything is changed.

    Without `spec`, as where a program opens its sources itself, only the salt is looked at. `moved` confirms that the
    dataset's archive lies elsewhere now; `recreate` says that the collection will be dropped first. What counts is what
    the collection holds of the dataset, else what those of other models hold.

    Raises:
        SourceDiffers: the dataset was filled from another source. SaltDiffers: its ids were made with another salt.
    """
    whole = source.whole if isinstance(source, SourcePart) else source
    dataset = source.dataset
    salt = whole.salt_fingerprint if isinstance(whole, Pseudonymous) else ""
    metas = index.collections()
    own = None if recreate else metas.pop(collection, None)
    others = {name: meta for name, meta in metas.items() if name != collection and _may_hold(meta, dataset)}
    mine = {collection: own} if own else {}
    for name, meta in (mine | others).items():
        require_same_salt(meta, name, salt)
    if spec is None:
        return Admission(dataset, salt=salt)
    admitted = Admission(dataset, f"{spec.describe()} on {socket.gethostname()}", salt)
    if moved:
        return admitted
    holders = mine if mine and index.open(collection).count(Filters(dataset=dataset)) else others
    known = _latest_spec(home, index.location, list(holders), dataset)
    if known:
        if not known.is_same_source(spec):
            raise _differs(dataset, next(iter(holders)), known.describe(), spec)
    elif checked := next(_samples(index, holders, whole), None):
        name, alike, sampled = checked
        there = holders[name].sources.get(dataset)
        if 2 * alike < sampled:
            found = f"; of {sampled} images that it holds, {alike} are in this one"
            raise _differs(dataset, name, there or "a source that was not recorded", spec, found)
        by = f"last filled from {there}" if there else "of which no source was recorded"
        admitted.messages.append(
            f"{name} holds the dataset {dataset}, {by}; {alike} of {sampled} images compared are the same in "
            f"{spec.describe()}, which is remembered from now on"
        )
    return admitted


def _may_hold(meta: CollectionMeta, dataset: str) -> bool:
    return bool(meta.counts.get(dataset)) or not meta.complete


def _latest_spec(home: Path | None, location: str, collections: list[str], dataset: str) -> SourceSpec | None:
    """How the dataset's source was opened by the last run of this home on any of `collections`."""
    found: list[tuple[str, SourceSpec]] = []
    for name in collections if home else []:
        path = ledger_path(home, location, name) if home else None
        if path and path.exists():
            with Ledger(path) as ledger:
                runs = (run for run in ledger.runs() if run.dataset == dataset and run.source)
                found += [(run.started_at, SourceSpec.from_dict(run.source)) for run in islice(runs, 1) if run.source]
    return max(found, key=lambda each: each[0])[1] if found else None


def _samples(index: Index, holders: dict[str, CollectionMeta], source: Source) -> Iterator[tuple[str, int, int]]:
    """For each collection that holds images of the source's dataset: how many of how many sampled are in the source."""
    for name in holders:
        with contextlib.suppress(IndexFailure):  # locked by another process, or damaged
            # The order of the ids is as good as random: they are hashes.
            points = list(index.open(name).scroll(Filters(dataset=source.dataset), limit=SAMPLE))
            wanted = {str(point.payload["image_id"]): str(point.payload["image_sha256"]) for point in points}
            if wanted:
                yield name, len(_present(wanted, source)), len(wanted)


def _present(wanted: dict[str, str], source: Source) -> set[str]:
    """Those image ids among `wanted`, which gives their SHA-256, that the source has with this content."""
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
            " (If it is the same archive, ids were made with another salt: copy the file `salt` of the home that filled "
            "it into this one, readable by its owner only)"
        )
    return SourceDiffers(
        f"the dataset {dataset} of {collection} was last filled from {known}; this is {spec.describe()}{found}. Nothing was "
        f"changed. Give another archive a name of its own with --dataset NAME; if the archive has moved, or its table has "
        f"a new name, confirm that with --moved{hint}"
    )
