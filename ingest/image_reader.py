"""Reads and decodes images, and decides what each point needs: nothing, a new report, or a new embedding."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ingest.ledger.schema import FileRow
from ingest.source_images import SourceImage
from ingest.stage_clock import StageClock
from ingest.thumbnails import (
    THUMBNAIL_SIZE,
    remove_unfinished_thumbnails,
    thumbnail_link,
    thumbnail_path,
    write_thumbnail,
)
from retrieval.errors import DiskFull, MissingExtra, RetrievalError
from retrieval.imaging.decode import read_file
from retrieval.imaging.decoder_pool import decoders
from retrieval.index.schema import Payload
from retrieval.model.encoder import Encoder
from retrieval.records import ImageRecord, Quarantined


@dataclass(frozen=True, slots=True)
class IndexableImage:
    """An image that can be indexed.

    Attributes:
        point_id: The id of its point.
        payload: The payload that its point should have.
        row: Its row for the ledger.
        stored: The payload in the index; None if there is no point.
        pixel_values: float32 [3, H, W]; None if the stored embedding is still valid.
        notes: Notes on its study, for the summary.
        unknown_terms: Label terms of its study that neither vocabulary has.
    """

    point_id: str
    payload: Payload
    row: FileRow
    stored: Mapping[str, Any] | None
    pixel_values: NDArray[np.float32] | None
    notes: tuple[str, ...] = ()
    unknown_terms: tuple[str, ...] = ()

    @property
    def is_new(self) -> bool:
        """Whether the image must be encoded."""
        return self.pixel_values is not None

    @property
    def pixels(self) -> NDArray[np.float32]:
        """`pixel_values` of an image that must be encoded."""
        assert self.pixel_values is not None
        return self.pixel_values

    @property
    def is_unchanged(self) -> bool:
        """Whether the index already holds this image with this payload."""
        return self.pixel_values is None and not self.payload.differs_from(dict(self.stored or {}))


class ImageReader:
    """Reads, decodes and preprocesses images; safe from several threads.

    On a CPU, decoding and encoding take turns (`paused`). Both use all cores; at the same time, each layer of the model
    waits for the one thread that a decoder has displaced (benchmarks/results).

    Attributes:
        decodes_again: Decode all images again, because an earlier version read them by other pixel rules.
    """

    def __init__(
        self,
        encoder: Encoder,
        clock: StageClock,
        *,
        media_dir: Path | None,
        public_url: str | None = None,
        rehash: bool = False,
        allow_burned_in: bool = False,
    ) -> None:
        """Make a reader. The options are those of `Worker`."""
        self._encoder = encoder
        self._clock = clock
        self._media_dir = media_dir
        self._public_url = public_url if media_dir else None
        self._rehash = rehash
        self._allow_burned_in = allow_burned_in
        self.decodes_again = False
        self._may_decode = threading.Event()
        self._may_decode.set()
        if media_dir:
            remove_unfinished_thumbnails(media_dir)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Decode no further image during the block, if the model runs on the CPU. Files are still read."""
        if self._encoder.image_session.device == "cpu":
            self._may_decode.clear()
        try:
            yield
        finally:
            self._may_decode.set()

    def read(
        self, image: SourceImage | Quarantined, stored: Mapping[str, Any] | None, known: FileRow | None
    ) -> IndexableImage | Quarantined:
        """The prepared image, or the reason why it is quarantined.

        Args:
            image: The image.
            stored: The payload of its point in the index; None if there is no point.
            known: The row of its file in the ledger; None if there is no row.

        Raises:
            MissingExtra, DiskFull: the run cannot go on; the file itself may be good.
        """
        if isinstance(image, Quarantined):
            return image
        try:
            return self._read(image, stored, known)
        except (MissingExtra, DiskFull):
            raise
        except RetrievalError as error:
            return Quarantined.because(image.record.name, error)

    def _read(self, image: SourceImage, stored: Mapping[str, Any] | None, known: FileRow | None) -> IndexableImage:
        record = image.record
        location = record.stored.location if record.stored else str(record.path)
        with self._clock("read"):
            size, mtime_ns = _stat(record.path)
            trusted = known if known and not self._rehash and _is_same_file(known, location, size, mtime_ns) else None
            data = None if trusted else read_bytes(record)
            sha256 = trusted.sha256 if trusted else hashlib.sha256(data or b"").hexdigest()
        embedded = stored is not None and (
            (stored.get("image_sha256"), stored.get("bundle_id")) == (sha256, self._encoder.bundle.bundle_id)
        )
        notes = trusted.notes if trusted else ()
        pixel_values = None
        if not embedded or self.decodes_again or self._lacks_thumbnail(sha256):
            data = read_bytes(record) if data is None else data
            self._may_decode.wait()
            with self._clock("decode"):
                prepared = decoders.prepare(
                    data,
                    () if embedded and not self.decodes_again else (self._encoder.preprocess.settings,),
                    name=_shown_name(record),
                    allow_burned_in=self._allow_burned_in,
                    preview_size=THUMBNAIL_SIZE if self._media_dir else 0,
                )
            # Different notes mean that the image looks different by today's pixel rules.
            looks_different = embedded and self.decodes_again and not (known and known.notes == prepared.notes)
            notes = prepared.notes
            for square in prepared.squares.values() if looks_different or not embedded else ():
                with self._clock("preprocess"):
                    pixel_values = self._encoder.preprocess.normalize(square)
            if self._media_dir and prepared.small:
                with self._clock("thumbnail"):
                    write_thumbnail(prepared.small, sha256, self._media_dir, replace=looks_different)
        return IndexableImage(
            point_id=image.point_id,
            payload=self._payload(image, sha256),
            row=FileRow(
                name=record.name,
                image_id=record.image_id,
                path=location,
                size=size,
                mtime_ns=mtime_ns,
                sha256=sha256,
                bundle_id=self._encoder.bundle.bundle_id,
                notes=tuple(notes),
            ),
            stored=stored,
            pixel_values=pixel_values,
            notes=image.study.notes,
            unknown_terms=image.unknown_terms,
        )

    def _lacks_thumbnail(self, sha256: str) -> bool:
        return self._media_dir is not None and not thumbnail_path(self._media_dir, sha256).exists()

    def _payload(self, image: SourceImage, sha256: str) -> Payload:
        study, labels, report = image.study, image.labels, image.study.report
        return Payload(
            study_id=study.study_id,
            image_id=image.record.image_id,
            dataset=study.dataset,
            view=image.record.view,
            **{field.name: list(getattr(labels, field.name)) for field in fields(labels)},
            findings=report.findings,
            impression=report.impression,
            indication=report.indication,
            comparison=report.comparison,
            study_date=study.date,
            report_group=report.group,
            image_sha256=sha256,
            bundle_id=self._encoder.bundle.bundle_id,
            ingested_at=now(),
            thumbnail_url=thumbnail_link(self._public_url, sha256) if self._public_url else msgspec.UNSET,
        )


def now() -> str:
    """The current time as ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _stat(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:  # `read_file` will report the error
        return -1, -1
    return found.st_size, found.st_mtime_ns


def _is_same_file(known: FileRow, location: str, size: int, mtime_ns: int) -> bool:
    return (known.path, known.size, known.mtime_ns) == (location, size, mtime_ns)


def read_bytes(record: ImageRecord) -> bytes:
    """The bytes of an image, from its file or its table cell."""
    return record.stored.read() if record.stored else read_file(record.path)


def _shown_name(record: ImageRecord) -> str:
    return record.name if record.stored else record.path.name
