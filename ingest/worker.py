"""The worker: source -> decode and preprocess in threads -> encode in batches -> upsert."""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.console import Progress
from retrieval.encoder import Encoder
from retrieval.errors import RetrievalError, SourceError
from retrieval.imaging.decode import read_image
from retrieval.index.interface import Collection, Index, IndexPoint
from retrieval.index.schema import CollectionMeta, Payload, collection_name, require_same_bundle
from retrieval.labels import Labels, read_labels
from retrieval.media import write_thumbnail
from retrieval.records import ImageRecord, Quarantined, Source, Study, point_id
from retrieval.rerank import calibrate

BATCH_SIZE = 32
# One batch is encoded while the next two are read: enough to hide the disk, and memory stays flat.
_BATCHES_AHEAD = 2
# Distinct report sections whose vectors are kept; normal reports repeat word for word.
_TEXT_CACHE = 20_000


@dataclass(slots=True)
class IngestSummary:
    """What an ingest did. `by_view` and `by_finding` count the images of the source that are in the index afterwards."""

    model: str
    collection: str
    bundle_id: str
    indexed: int = 0
    unchanged: int = 0
    quarantined: list[Quarantined] = field(default_factory=list)
    by_view: Counter[str] = field(default_factory=Counter)
    by_finding: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def images_per_second(self) -> float:
        """Images handled, unchanged ones included, over wall time."""
        return (self.indexed + self.unchanged) / self.seconds if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The document that `cxr ingest --json` prints."""
        return asdict(self) | {
            "by_view": dict(self.by_view.most_common()),
            "by_finding": dict(self.by_finding.most_common()),
            "seconds": round(self.seconds, 3),
            "images_per_second": round(self.images_per_second, 2),
        }


@dataclass(frozen=True, slots=True)
class _Loaded:
    """An image read from disk, ready for the encoder, with the point it will become."""

    study: Study
    labels: Labels
    point_id: str
    payload: Payload
    pixel_values: NDArray[np.float32]


class Worker:
    """Fills the collection of one model from one source. Running it again changes nothing that has not changed."""

    def __init__(
        self, encoder: Encoder, index: Index, *, media_dir: Path | None = None, batch_size: int = BATCH_SIZE
    ) -> None:
        """`media_dir` takes the thumbnails; None makes none."""
        self.encoder = encoder
        self.index = index
        self._media_dir = media_dir
        self._batch_size = batch_size
        self._text_vectors: dict[str, NDArray[np.float32]] = {}

    def run(self, source: Source, *, recreate: bool = False, progress: Progress | None = None) -> IngestSummary:
        """Ingest `source`; with `recreate` the collection is dropped first.

        Raises:
            BundleMismatch: the collection was built by another bundle and `recreate` is not set.
            SourceError: not one image could be indexed; no collection is left behind.
            RetrievalError: the source or the index cannot be used at all. Single bad files are quarantined instead.
        """
        started = time.perf_counter()
        self.encoder.warm_up()  # a model that cannot run must not cost a collection
        collection = self._collection(recreate)
        bundle = self.encoder.bundle
        summary = IngestSummary(model=bundle.name, collection=collection.name, bundle_id=bundle.bundle_id)
        total = source.image_count()
        with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
            for batch in self._batches(source, pool):
                kept = [item for item in batch if isinstance(item, _Loaded)]
                summary.quarantined += [item for item in batch if isinstance(item, Quarantined)]
                changed = self._changed(collection, kept)
                collection.upsert(self._encode(changed))
                summary.indexed += len(changed)
                summary.unchanged += len(kept) - len(changed)
                for item in kept:
                    summary.by_view[item.payload.view] += 1
                    summary.by_finding.update(item.payload.present)
                if progress:
                    progress(summary.indexed + summary.unchanged + len(summary.quarantined), total)
        if collection.count() == 0:
            self.index.drop(collection.name)
            first = f"; the first: {summary.quarantined[0].detail}" if summary.quarantined else ""
            raise SourceError(f"not one of {total} images could be indexed{first}")
        if summary.indexed or not collection.meta.calibration:
            self._finish(collection)
        if self.index.active() is None:
            self.index.activate(collection.name)
        summary.seconds = time.perf_counter() - started
        return summary

    def _collection(self, recreate: bool) -> Collection:
        bundle = self.encoder.bundle
        name = collection_name(bundle.name)
        exists = name in self.index.collections()
        was_active = self.index.active() == name
        if exists and recreate:
            self.index.drop(name)
            exists = False
        if not exists:
            meta = CollectionMeta(
                model=bundle.name, bundle_id=bundle.bundle_id, dim=bundle.manifest.dim, created_at=_now()
            )
            collection = self.index.create(meta, name=name)
            if was_active:
                self.index.activate(name)
            return collection
        collection = self.index.open(name)
        require_same_bundle(bundle, collection.meta, name)
        return collection

    def _batches(self, source: Source, pool: ThreadPoolExecutor) -> Iterator[list[_Loaded | Quarantined]]:
        """Batches in the order of the source, read ahead by a bounded number of batches."""
        jobs = chain.from_iterable(_images_of(record) for record in source)
        ahead: list[list[Future[_Loaded | Quarantined]]] = []
        while batch := list(islice(jobs, self._batch_size)):
            ahead.append([pool.submit(self._load, job) for job in batch])
            if len(ahead) > _BATCHES_AHEAD:
                yield [future.result() for future in ahead.pop(0)]
        for futures in ahead:
            yield [future.result() for future in futures]

    def _load(self, job: tuple[Study, Labels, ImageRecord] | Quarantined) -> _Loaded | Quarantined:
        if isinstance(job, Quarantined):
            return job
        study, labels, record = job
        try:
            image, data = read_image(record.path)
            pixel_values = self.encoder.preprocess(image)
        except RetrievalError as error:
            return Quarantined.because(record.image_id, error)
        sha256 = hashlib.sha256(data).hexdigest()
        if self._media_dir:
            write_thumbnail(image, sha256, self._media_dir)
        return _Loaded(
            study=study,
            labels=labels,
            point_id=point_id(study.dataset, record.image_id),
            payload=self._payload(study, labels, record, sha256),
            pixel_values=pixel_values,
        )

    def _payload(self, study: Study, labels: Labels, record: ImageRecord, sha256: str) -> Payload:
        report = study.report
        return Payload(
            study_id=study.study_id,
            image_id=record.image_id,
            dataset=study.dataset,
            view=record.view,
            present=list(labels.present),
            uncertain=list(labels.uncertain),
            absent=list(labels.absent),
            problems=list(labels.problems),
            mesh=list(labels.mesh),
            findings=report.findings,
            impression=report.impression,
            indication=report.indication,
            comparison=report.comparison,
            report_group=report.group,
            image_sha256=sha256,
            bundle_id=self.encoder.bundle.bundle_id,
            ingested_at=_now(),
        )

    def _changed(self, collection: Collection, items: Sequence[_Loaded]) -> list[_Loaded]:
        stored = collection.fetch([item.point_id for item in items]) if items else {}
        return [item for item in items if item.payload.differs_from(stored.get(item.point_id, {}))]

    def _encode(self, items: Sequence[_Loaded]) -> list[IndexPoint]:
        if not items:
            return []
        embeddings = self.encoder.encode_pixels(np.stack([item.pixel_values for item in items]))
        sections = [(item.payload.findings, item.payload.impression) for item in items]
        self._remember_texts(text for pair in sections for text in pair if text)
        points = []
        for item, embedding, (findings, impression) in zip(items, embeddings, sections, strict=True):
            vectors = {"image": embedding}
            for name, text in (("findings", findings), ("impression", impression)):
                if text in self._text_vectors:
                    vectors[name] = self._text_vectors[text]
            points.append(
                IndexPoint(item.point_id, vectors, text=f"{findings} {impression}".strip(), payload=item.payload)
            )
        return points

    def _remember_texts(self, texts: Iterator[str]) -> None:
        """Encode the texts that are new; each distinct text once."""
        if not self.encoder.bundle.has_text:
            return
        wanted = dict.fromkeys(texts)
        if len(self._text_vectors) + len(wanted) > _TEXT_CACHE:
            self._text_vectors.clear()
        new = [text for text in wanted if text not in self._text_vectors]
        self._text_vectors.update(zip(new, self.encoder.encode_texts(new), strict=True))

    def _finish(self, collection: Collection) -> None:
        collection.optimize()
        meta = collection.meta
        collection.record(
            CollectionMeta(
                model=meta.model,
                bundle_id=meta.bundle_id,
                dim=meta.dim,
                created_at=meta.created_at,
                calibration=calibrate(collection),
            )
        )


def _images_of(record: Study | Quarantined) -> Iterator[tuple[Study, Labels, ImageRecord] | Quarantined]:
    if isinstance(record, Quarantined):
        yield record
        return
    labels = read_labels(record.mesh, record.problems)
    for image in record.images:
        yield record, labels, image


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
