"""The worker: source -> read, decode and preprocess in threads -> encode in batches -> write behind."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path

from archives.source_part import SourcePart
from archives.source_spec import SourceSpec
from ingest.batch_encoding import Batch, EncodedBatch, encode_batch
from ingest.concurrency import StageClock, WriteBehind, cancelled_on_error, count_readers, read_ahead
from ingest.image_reader import ImageReader, PreparedImage, now
from ingest.ledger import RETRY, Ledger, ledger_path
from ingest.orphaned_thumbnails import remove_unshown
from ingest.prune import Confirm, prune_collection
from ingest.source_identity import admit
from ingest.source_images import SeenImages, SourceImage, read_images
from ingest.summary import IngestSummary
from ingest.target import adopt_unfinished, complete, open_target, record_pixel_rules, require_images
from retrieval.errors import InvalidRequest, SourceError
from retrieval.imaging.decode import PIXEL_RULES
from retrieval.index.completeness import begin, datasets_of, ingest_of, why_incomplete, without
from retrieval.index.filters import Filters
from retrieval.index.interface import Collection, Index
from retrieval.index.schema import CollectionLayout, CollectionMeta, collection_name, require_same_bundle
from retrieval.model.encoder import Encoder
from retrieval.progress import Progress
from retrieval.records import Quarantined, Source

BATCH_SIZE = 32
# One batch is encoded while the next two are read and the last two are written: enough to hide disk and network, and
# memory stays flat.
_BATCHES_AHEAD = 2
_BATCHES_BEHIND = 2

Reading = list[tuple[SourceImage | Quarantined, Future[PreparedImage | Quarantined]]]


class Worker:
    """Fills the collection of one model from one source. Running it again changes nothing that has not changed.

    Killed at any moment, the same call ends in the index of an undisturbed run: batches are cut at the same places of
    the source each time and are written whole or not at all, and a text has the vector it was first given.
    """

    def __init__(
        self,
        encoder: Encoder,
        index: Index,
        *,
        home: Path | None = None,
        media_dir: Path | None = None,
        batch_size: int = BATCH_SIZE,
        read_threads: int = 0,
        layout: CollectionLayout = CollectionLayout(),
        pause_optimizer: bool = False,
        rehash: bool = False,
        allow_burned_in: bool = False,
    ) -> None:
        """Make a worker.

        Args:
            encoder: The model.
            index: Where its collection is, or will be made.
            home: Folder that holds the ledgers (`<CXR_HOME>`); None keeps the ledger in memory only.
            media_dir: Folder for the thumbnails; None makes none.
            batch_size: Images encoded at once.
            read_threads: Threads that read and decode; 0 for `count_readers`.
            layout: How a new collection is laid out.
            pause_optimizer: Let a server build no graph until everything is loaded.
            rehash: Read files also where size and time of change say that they are the same.
            allow_burned_in: Take DICOM files that say that their pixels hold annotations.
        """
        self.encoder = encoder
        self.index = index
        self.clock = StageClock()
        self._home = home
        self._media_dir = media_dir
        self._batch_size = batch_size
        self._read_threads = read_threads or count_readers()
        self._layout = layout
        self._pause_optimizer = pause_optimizer
        self._job: str | None = None
        self._reader = ImageReader(
            encoder, self.clock, media_dir=media_dir, rehash=rehash, allow_burned_in=allow_burned_in
        )

    def run(
        self,
        source: Source,
        *,
        spec: SourceSpec | None = None,
        recreate: bool = False,
        only: frozenset[str] | None = None,
        prune: Confirm | None = None,
        allow_shrink: bool = False,
        moved: bool = False,
        progress: Progress | None = None,
    ) -> IngestSummary:
        """Ingest `source`.

        Args:
            source: The archive, or a `SourcePart` of it.
            spec: How the source was opened, for the ledger, so that `cxr ingest retry` can open it again, and another
                archive is not taken for this one. Without it, which archive fills the dataset is the caller's care.
            recreate: Drop the collection first.
            only: Leave all files but these (by the names that the source gives them) alone.
            prune: Asked, with how many points of how many the source no longer has, whether they shall be removed.
            allow_shrink: Prune also what `ingest.prune.find_gone` keeps unless it is asked twice; an empty source is no
                error then.
            moved: The dataset's archive lies elsewhere now than where it was last filled from.
            progress: Told the images done.

        Raises:
            SourceDiffers: the dataset was last filled from another source. SaltDiffers: ids were made with another salt.
            BundleMismatch: the collection was built by another bundle and `recreate` is not set.
            InvalidRequest: `prune` or `recreate` with a part of a source, or `prune` with `only`.
            SourceError: the source is empty, and nothing was changed; or not one image could be indexed, and no
                collection is left behind, unless it was active before.
            RetrievalError: the source or the index cannot be used at all. Single bad files are quarantined instead.
        """
        part = source.name if isinstance(source, SourcePart) else SourcePart.WHOLE
        whole = part == SourcePart.WHOLE
        if prune and (only is not None or not whole):
            raise InvalidRequest("only a run over the whole source can tell what the source no longer has")
        if recreate and not whole:
            raise InvalidRequest(
                "each part of a job would drop what the others did; drop the collection before the first"
            )
        require_images(source, recreate=recreate, may_be_empty=prune is not None and allow_shrink)
        started = time.perf_counter()
        self.encoder.warm_up()  # a model that cannot run must not cost a collection
        bundle = self.encoder.bundle
        admitted = admit(
            self.index, self._home, collection_name(bundle.name), source, spec, moved=moved, recreate=recreate
        )
        job = ingest_of(source.dataset)
        collection = open_target(self.index, bundle, self._layout, job=job, recreate=recreate)
        summary = IngestSummary(model=bundle.name, collection=collection.name, bundle_id=bundle.bundle_id)
        # A retry reads a few files: it does not bring to its end an ingest that was cut off before.
        self._job = job if only is None else None
        with self._open_ledger(collection) as ledger:
            if recreate:
                ledger.clear()
            admitted.record(collection)
            summary.messages += admitted.messages
            adopt_unfinished(collection, ledger)
            if collection.count(Filters(dataset=source.dataset)) == 0:
                record_pixel_rules(collection, source.dataset)  # at once: a run that resumes need not decode again
            self._reader.decodes_again = collection.meta.pixel_rules.get(source.dataset) != PIXEL_RULES
            if self._reader.decodes_again:
                summary.messages.append(
                    f"an earlier version read the images of {source.dataset} by other pixel rules "
                    "(docs/explanation/pixels.md): each is decoded again, and embedded again if it looks different"
                )
            part = part if only is None else RETRY
            run = ledger.begin(source.dataset, part, spec.to_dict() if spec else None, now())
            seen = self._fill(collection, ledger, run, source, only, summary, progress)
            superseded = ledger.superseded()
            if remove_unshown(self.index, collection, superseded, self._media_dir):
                ledger.forget_superseded(superseded)
            admitted.confirm(self.index, collection.name)
            if prune:
                prune_collection(
                    self.index,
                    collection,
                    ledger,
                    source,
                    seen,
                    summary,
                    confirm=prune,
                    allow_shrink=allow_shrink,
                    media_dir=self._media_dir,
                )
            if whole:
                ledger.forget_older(run, source.dataset)
            empty = whole and collection.count() == 0 and not summary.pruned
            if whole and not empty:
                if only is None:
                    record_pixel_rules(collection, source.dataset)
                complete(self.index, collection, self.clock, without(collection.meta, self._job))
                summary.unfinished = datasets_of(collection.meta.pending or ())
                summary.incomplete = why_incomplete(collection.meta)
            summary.stages_s = self.clock.seconds()
            summary.seconds = time.perf_counter() - started
            said = summary.to_dict()
            # Terms that no vocabulary has are cells of a table, which may hold anything if a wrong column was named.
            unknown = said.pop("unknown_terms")
            said["by_finding"] = {name: count for name, count in said["by_finding"].items() if name not in unknown}
            ledger.end(run, now(), said)
        if empty:
            if self.index.active() != collection.name:
                self.index.drop(collection.name)
            first = f"; the first: {summary.quarantined[0].detail}" if summary.quarantined else ""
            raise SourceError(f"not one of {summary.handled} images could be indexed{first}")
        return summary

    def finish(self) -> CollectionMeta:
        """Optimise, calibrate and mark as complete the collection that the parts of a shared job have filled.

        Raises:
            NoCollection: no part has made it yet. SourceError: it is empty.
        """
        collection = self.index.open(collection_name(self.encoder.bundle.name))
        require_same_bundle(self.encoder.bundle, collection.meta, collection.name)
        if collection.count() == 0:
            raise SourceError(f"the collection {collection.name} is empty; run its parts first")
        complete(self.index, collection, self.clock)
        record_pixel_rules(collection, *collection.meta.counts)  # each part has read its files by them
        return collection.meta

    def finish_retry(self) -> CollectionMeta:
        """Bring to its end a retry that was cut off after it had read its last file; what the collection then records.

        Raises:
            NoCollection: there is none.
        """
        collection = self.index.open(collection_name(self.encoder.bundle.name))
        require_same_bundle(self.encoder.bundle, collection.meta, collection.name)
        with self._open_ledger(collection) as ledger:
            adopt_unfinished(collection, ledger)
        if not collection.meta.pending:
            complete(self.index, collection, self.clock)
        return collection.meta

    def _open_ledger(self, collection: Collection) -> Ledger:
        return Ledger(self._home and ledger_path(self._home, self.index.location, collection.name))

    def _fill(
        self,
        collection: Collection,
        ledger: Ledger,
        run: int,
        source: Source,
        only: frozenset[str] | None,
        summary: IngestSummary,
        progress: Progress | None,
    ) -> SeenImages:
        """The loop over batches; gives what was met of the source, bad files included."""
        total = source.image_count() if only is None else len(only)
        seen = SeenImages()

        def write(encoded: EncodedBatch) -> None:
            self._write(collection, ledger, run, source.dataset, encoded)

        with (
            ThreadPoolExecutor(self._read_threads, thread_name_prefix="read") as pool,
            WriteBehind(write, _BATCHES_BEHIND) as writer,
            cancelled_on_error(pool),
        ):
            for jobs in seen.passes(read_images(source, only)):
                with (
                    cancelled_on_error(pool),
                    closing(read_ahead(self._batches(jobs, collection, ledger, pool), _BATCHES_AHEAD)) as batches,
                ):
                    while reading := self._next(batches):
                        batch = self._gather(reading, seen, ledger)
                        with self._reader.paused():
                            encoded = encode_batch(self.encoder, self.clock, batch, ledger)
                        writer.put(encoded)
                        summary.count(batch)
                        if progress:
                            progress(min(summary.handled, total), total)
        return seen

    def _batches(
        self,
        jobs: Iterator[SourceImage | Quarantined],
        collection: Collection,
        ledger: Ledger,
        pool: ThreadPoolExecutor,
    ) -> Iterator[Reading]:
        """Batches in the order of the source, cut at the same places each time, on their way through the reader."""
        while batch := list(islice(jobs, self._batch_size)):
            images = [job for job in batch if isinstance(job, SourceImage)]
            with self.clock("compare"):
                stored = collection.fetch([job.point_id for job in images]) if images else {}
                names = [job.record.name for job in images]
                known = ledger.rows(images[0].study.dataset, names) if images else {}
            yield [
                (job, pool.submit(self._reader.read, job, stored.get(job.point_id), known.get(job.record.name)))
                if isinstance(job, SourceImage)
                else (job, pool.submit(self._reader.read, job, None, None))
                for job in batch
            ]

    def _next(self, batches: Iterator[Reading]) -> Reading:
        with self.clock("wait for source"):
            return next(batches, [])

    def _gather(self, reading: Reading, seen: SeenImages, ledger: Ledger) -> Batch:
        with self.clock("wait for images"):
            batch = [future.result() for _, future in reading]
        for (job, _), item in zip(reading, batch, strict=True):
            if isinstance(job, SourceImage) and isinstance(item, Quarantined):
                seen.fail(job)
        ledger.supersede(
            str(item.stored["image_sha256"])
            for item in batch
            if isinstance(item, PreparedImage) and item.is_new and item.stored
        )
        return batch

    def _write(self, collection: Collection, ledger: Ledger, run: int, dataset: str, encoded: EncodedBatch) -> None:
        with self.clock("write"):
            if encoded.points or encoded.reports:
                self._open_for_writing(collection)
            collection.upsert(encoded.points)
            collection.replace_reports(encoded.reports)
            # After the index: what the ledger calls done is done.
            ledger.record(run, dataset, encoded.rows)
            ledger.quarantine(run, dataset, encoded.quarantined)

    def _open_for_writing(self, collection: Collection) -> None:
        begin(collection, self._job)
        if self._pause_optimizer:
            collection.pause_optimizer()
            self._pause_optimizer = False
