"""The pipeline of a run: images are read and decoded in threads, encoded in batches, and written in the background."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

from ingest.batch_encoding import Batch, EncodedBatch, encode_batch
from ingest.concurrency import WriteBehind, cancelled_on_error, read_ahead
from ingest.image_reader import ImageReader, IndexableImage
from ingest.ledger import Ledger
from ingest.seen_images import SeenImages
from ingest.source_images import SourceImage
from ingest.stage_clock import StageClock
from ingest.summary import IngestSummary
from retrieval.index.completeness import record_pending_job
from retrieval.index.filters import Filters
from retrieval.index.interface import Collection
from retrieval.model.encoder import Encoder
from retrieval.progress import Progress
from retrieval.records import Quarantined

# One batch is encoded while the next two are read and the last two are written. This hides disk and network, and memory
# stays flat.
_BATCHES_AHEAD = 2
_BATCHES_BEHIND = 2

ReadingBatch = list[tuple[SourceImage | Quarantined, Future[IndexableImage | Quarantined]]]


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a run writes: a collection and its ledger, under the number of the run, its dataset and its pending job.

    `images` is the number of images that the dataset will have.
    """

    collection: Collection
    ledger: Ledger
    run: int
    dataset: str
    job: str | None
    images: int


class ImagePipeline:
    """Reads, encodes and writes the images of a source.

    Batches are cut at the same places of the source in each run and are written whole or not at all. So a run that was
    killed and is started again ends in the same index as an undisturbed run.
    """

    def __init__(
        self,
        encoder: Encoder,
        reader: ImageReader,
        clock: StageClock,
        *,
        batch_size: int,
        read_threads: int,
    ) -> None:
        self._encoder = encoder
        self._reader = reader
        self._clock = clock
        self._batch_size = batch_size
        self._read_threads = read_threads
        self._has_begun = False

    def index_images(
        self,
        images: Iterator[SourceImage | Quarantined],
        total: int,
        to: Destination,
        summary: IngestSummary,
        progress: Progress,
    ) -> SeenImages:
        """Bring `images`, about `total`, into the collection; count them in `summary`. Gives the images met."""
        seen = SeenImages()
        with (
            ThreadPoolExecutor(self._read_threads, thread_name_prefix="read") as pool,
            WriteBehind[EncodedBatch](lambda batch: self._write(batch, to), _BATCHES_BEHIND) as writer,
            cancelled_on_error(pool),
        ):
            for images_of_pass in seen.passes(images):
                with (
                    cancelled_on_error(pool),
                    closing(read_ahead(self._start_reading(images_of_pass, to, pool), _BATCHES_AHEAD)) as batches,
                ):
                    while reading := self._next(batches):
                        batch = self._wait_for_images(reading, seen, to.ledger)
                        with self._reader.paused():
                            encoded = encode_batch(self._encoder, self._clock, batch, to.ledger)
                        writer.put(encoded)
                        summary.count(batch)
                        progress(min(summary.handled, total), total)
        return seen

    def _start_reading(
        self, images: Iterator[SourceImage | Quarantined], to: Destination, pool: ThreadPoolExecutor
    ) -> Iterator[ReadingBatch]:
        """Batches in the order of the source, each with its images being read in `pool`."""
        while batch := list(islice(images, self._batch_size)):
            found = [image for image in batch if isinstance(image, SourceImage)]
            with self._clock("compare"):
                stored = to.collection.fetch([image.point_id for image in found]) if found else {}
                known = to.ledger.rows(to.dataset, [image.record.name for image in found]) if found else {}
            yield [
                (image, pool.submit(self._reader.read, image, stored.get(image.point_id), known.get(image.record.name)))
                if isinstance(image, SourceImage)
                else (image, pool.submit(self._reader.read, image, None, None))
                for image in batch
            ]

    def _next(self, batches: Iterator[ReadingBatch]) -> ReadingBatch:
        with self._clock("wait for source"):
            return next(batches, [])

    def _wait_for_images(self, reading: ReadingBatch, seen: SeenImages, ledger: Ledger) -> Batch:
        with self._clock("wait for images"):
            batch = [future.result() for _, future in reading]
        for (image, _), result in zip(reading, batch, strict=True):
            if isinstance(image, SourceImage) and isinstance(result, Quarantined):
                seen.add_failure(image)
        ledger.supersede(
            str(image.stored["image_sha256"])
            for image in batch
            if isinstance(image, IndexableImage) and image.is_new and image.stored
        )
        return batch

    def _write(self, encoded: EncodedBatch, to: Destination) -> None:
        with self._clock("write"):
            if encoded.points or encoded.reports:
                self._open_for_writing(to)
            to.collection.upsert(encoded.points)
            to.collection.replace_reports(encoded.reports)
            # The index first: a file that the ledger lists as indexed must be in the index.
            to.ledger.record(to.run, to.dataset, encoded.rows)
            to.ledger.quarantine(to.run, to.dataset, encoded.quarantined)

    def _open_for_writing(self, to: Destination) -> None:
        record_pending_job(to.collection, to.job)
        if not self._has_begun:
            to.collection.begin_load(to.images - to.collection.count(Filters(dataset=to.dataset)))
            self._has_begun = True
