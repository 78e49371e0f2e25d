"""The worker: brings the images of a source into the collection of one model."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from archives.source_spec import SourceSpec
from ingest.concurrency import count_readers
from ingest.image_pipeline import Destination, ImagePipeline
from ingest.image_reader import ImageReader, now
from ingest.ledger import Ledger, ledger_path
from ingest.orphaned_thumbnails import remove_orphaned_thumbnails
from ingest.prune import prune_collection
from ingest.run_mode import RunMode
from ingest.seen_images import SeenImages
from ingest.source_identity import AcceptedSource, admit
from ingest.source_images import read_images
from ingest.stage_clock import StageClock
from ingest.summary import IngestSummary
from ingest.target_collection import adopt_unfinished, complete, open_target, record_pixel_rules, require_images
from retrieval.errors import SourceError
from retrieval.imaging.decode import PIXEL_RULES
from retrieval.index.completeness import datasets_with_pending_ingest, ingest_job, pending_after, why_incomplete
from retrieval.index.filters import Filters
from retrieval.index.interface import Collection, Index
from retrieval.index.schema import CollectionLayout, CollectionMeta, collection_name, require_same_bundle
from retrieval.model.encoder import Encoder
from retrieval.progress import NoProgress, StageProgress
from retrieval.records import Source

BATCH_SIZE = 32


@dataclass(slots=True)
class _Run:
    """The state of one run."""

    source: Source
    mode: RunMode
    collection: Collection
    ledger: Ledger
    number: int
    admission: AcceptedSource
    summary: IngestSummary
    progress: StageProgress
    seen: SeenImages = field(default_factory=SeenImages)
    is_empty: bool = False

    @property
    def dataset(self) -> str:
        return self.source.dataset


class Worker:
    """Fills the collection of one model from a source. A second run over an unchanged source changes nothing.

    A worker may be killed at any moment. The same call then ends in the same index as an undisturbed run.
    """

    def __init__(
        self,
        encoder: Encoder,
        index: Index,
        *,
        home: Path | None = None,
        media_dir: Path | None = None,
        public_url: str | None = None,
        batch_size: int = BATCH_SIZE,
        read_threads: int = 0,
        layout: CollectionLayout = CollectionLayout(),
        rehash: bool = False,
        allow_burned_in: bool = False,
    ) -> None:
        """Make a worker.

        Args:
            encoder: The model.
            index: The index of the model's collection, which is created if needed.
            home: Folder that holds the ledgers (`<CXR_HOME>`); None keeps the ledger in memory.
            media_dir: Folder of the thumbnails; None writes none.
            public_url: Where browsers reach the service; payloads then link to their thumbnail, if thumbnails are written.
            batch_size: Images encoded at once.
            read_threads: Threads that read and decode; 0 for `count_readers`.
            layout: Layout of a new collection.
            rehash: Also reads files whose size and modification time have not changed.
            allow_burned_in: Accepts DICOM files whose header declares burned-in annotations.
        """
        self.encoder = encoder
        self.index = index
        self.clock = StageClock()
        self._home = home
        self._media_dir = media_dir
        self._layout = layout
        self._reader = ImageReader(
            encoder,
            self.clock,
            media_dir=media_dir,
            public_url=public_url,
            rehash=rehash,
            allow_burned_in=allow_burned_in,
        )
        self._pipeline = ImagePipeline(
            encoder,
            self._reader,
            self.clock,
            batch_size=batch_size,
            read_threads=read_threads or count_readers(),
        )

    def run(
        self,
        source: Source,
        mode: RunMode = RunMode(),
        *,
        spec: SourceSpec | None = None,
        moved: bool = False,
        progress: StageProgress | None = None,
    ) -> IngestSummary:
        """Ingest `source`.

        Args:
            source: The whole archive; `mode` may select a part of it.
            mode: What the run reads and removes.
            spec: How the source was opened. The ledger keeps it for `cxr ingest retry`, and to refuse another archive under
                the same dataset name. Without it the caller must make sure that the dataset is always the same archive.
            moved: Confirms that the archive of the dataset has moved since the last run.
            progress: Receives the stages of the run and their counts.

        Raises:
            SourceDiffers: the dataset was last filled from another source. SaltDiffers: ids were made with another salt.
            BundleMismatch: the collection was built with another bundle and the mode does not recreate it.
            SourceError: the source is empty, and nothing was changed; or no image at all could be indexed. Then no
                collection is left behind, unless it was active before.
            RetrievalError: the source or the index as a whole cannot be used. Single bad files are quarantined instead.
        """
        started = time.perf_counter()
        progress = progress or NoProgress()
        progress.stage("Checking the source")
        selected = mode.select(source)
        require_images(selected, recreate=mode.recreate, may_be_empty=mode.may_empty_dataset)
        self.encoder.warm_up()  # a model that fails must fail before a collection is dropped or made
        bundle = self.encoder.bundle
        name = collection_name(bundle.name)
        admission = admit(self.index, self._home, name, source, spec, moved=moved, recreate=mode.recreate)
        job = ingest_job(source.dataset)
        collection = open_target(self.index, bundle, self._layout, job=job, recreate=mode.recreate)
        summary = IngestSummary(model=bundle.name, collection=name, bundle_id=bundle.bundle_id)
        with self._open_ledger(collection) as ledger:
            if mode.recreate:
                ledger.clear()
            admission.record(collection)
            summary.messages += admission.messages
            adopt_unfinished(collection, ledger)
            self._choose_pixel_rules(collection, source.dataset, summary)
            number = ledger.begin(source.dataset, mode.name, spec.to_dict() if spec else None, now())
            run = _Run(selected, mode, collection, ledger, number, admission, summary, progress)
            for stage in (
                self._index_images,
                self._remove_replaced_thumbnails,
                self._confirm_salt,
                self._prune,
                self._complete,
            ):
                stage(run)
            summary.stages_s = self.clock.seconds()
            summary.seconds = time.perf_counter() - started
            ledger.end(number, now(), summary.for_ledger())
        if run.is_empty:
            self._refuse_empty(run)
        return summary

    def finish(self, progress: StageProgress | None = None) -> CollectionMeta:
        """Complete the collection after the last part of a shared ingest: optimize, calibrate, mark as complete.

        Raises:
            NoCollection: no part has created it yet. SourceError: it is empty.
        """
        collection = self._open_existing()
        if collection.count() == 0:
            raise SourceError(f"the collection {collection.name} is empty; run its parts first")
        complete(self.index, collection, self.clock, progress=progress or NoProgress())
        record_pixel_rules(collection, *collection.meta.counts)  # each part has read its files by these rules
        return collection.meta

    def finish_retry(self, progress: StageProgress | None = None) -> CollectionMeta:
        """Complete the collection after a retry that was killed when it had read its last file.

        The collection stays incomplete if another job is pending; see `why_incomplete`.

        Raises:
            NoCollection: there is no collection.
        """
        collection = self._open_existing()
        with self._open_ledger(collection) as ledger:
            adopt_unfinished(collection, ledger)
        if not collection.meta.pending:
            complete(self.index, collection, self.clock, progress=progress or NoProgress())
        return collection.meta

    def _open_existing(self) -> Collection:
        collection = self.index.open(collection_name(self.encoder.bundle.name))
        require_same_bundle(self.encoder.bundle, collection.meta, collection.name)
        return collection

    def _open_ledger(self, collection: Collection) -> Ledger:
        return Ledger(self._home and ledger_path(self._home, self.index.location, collection.name))

    def _choose_pixel_rules(self, collection: Collection, dataset: str, summary: IngestSummary) -> None:
        """Decode all images of the dataset again if an earlier version read them by other pixel rules."""
        if collection.count(Filters(dataset=dataset)) == 0:
            record_pixel_rules(collection, dataset)  # at once, so that a resumed run need not decode again
        self._reader.decodes_again = collection.meta.pixel_rules.get(dataset) != PIXEL_RULES
        if self._reader.decodes_again:
            summary.messages.append(
                f"an earlier version read the images of {dataset} by other pixel rules (docs/explanation/pixels.md): each "
                "image is decoded again, and encoded again if it looks different"
            )

    def _index_images(self, run: _Run) -> None:
        names = run.mode.retry
        total = run.source.image_count() if names is None else len(names)
        run.progress.stage("Indexing" if names is None else "Reading quarantined files again", "images")
        of_dataset = total * run.mode.parts
        to = Destination(run.collection, run.ledger, run.number, run.dataset, run.mode.job(run.dataset), of_dataset)
        images = read_images(run.source, names)
        run.seen = self._pipeline.index_images(images, total, to, run.summary, run.progress)

    def _remove_replaced_thumbnails(self, run: _Run) -> None:
        replaced = run.ledger.superseded()
        if replaced:
            run.progress.stage("Removing replaced thumbnails")
        if remove_orphaned_thumbnails(self.index, run.collection, replaced, self._media_dir):
            run.ledger.forget_superseded(replaced)

    def _confirm_salt(self, run: _Run) -> None:
        run.admission.confirm(self.index, run.collection.name)

    def _prune(self, run: _Run) -> None:
        if run.mode.prune:
            prune_collection(
                self.index,
                run.collection,
                run.ledger,
                run.source,
                run.seen,
                run.summary,
                confirm=run.mode.prune,
                allow_shrink=run.mode.allow_shrink,
                media_dir=self._media_dir,
                progress=run.progress,
            )

    def _complete(self, run: _Run) -> None:
        """Complete the collection, unless other parts of a shared ingest may still write to it."""
        if not run.mode.ends_ingest:
            return
        collection, summary = run.collection, run.summary
        run.ledger.forget_older(run.number, run.dataset)
        run.is_empty = collection.count() == 0 and not summary.pruned
        if run.is_empty:
            return
        if run.mode.retry is None:
            record_pixel_rules(collection, run.dataset)
        pending = pending_after(collection.meta, run.mode.job(run.dataset))
        complete(self.index, collection, self.clock, pending, progress=run.progress)
        summary.unfinished = datasets_with_pending_ingest(collection.meta.pending or ())
        summary.incomplete = why_incomplete(collection.meta)

    def _refuse_empty(self, run: _Run) -> None:
        if self.index.active() != run.collection.name:
            self.index.drop(run.collection.name)
        quarantined = run.summary.quarantined
        first = f"; the first: {quarantined[0].detail}" if quarantined else ""
        raise SourceError(f"none of {run.summary.handled} images could be indexed{first}")
