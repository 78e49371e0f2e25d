"""Encodes a batch of prepared images: gives the points to write and the rows for the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from ingest.image_reader import IndexableImage
from ingest.ledger import Ledger
from ingest.ledger.schema import FileRow
from ingest.stage_clock import StageClock
from retrieval.index.interface import IndexPoint
from retrieval.model.encoder import Encoder
from retrieval.records import Quarantined

Batch = list[IndexableImage | Quarantined]
TextVectors = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class EncodedBatch:
    """A batch to write, without pixels: points with new embeddings, points with only a new report, ledger rows."""

    points: list[IndexPoint]
    reports: list[IndexPoint]
    rows: list[FileRow]
    quarantined: list[Quarantined]


def encode_batch(encoder: Encoder, clock: StageClock, batch: Batch, ledger: Ledger) -> EncodedBatch:
    """`batch` with its new images and new report texts encoded; the ledger has the vectors of known texts."""
    images = [image for image in batch if isinstance(image, IndexableImage)]
    new = [image for image in images if image.is_new]
    updated = [image for image in images if not image.is_new and not image.is_unchanged]
    embeddings: Iterable[NDArray[np.float32]] = ()
    if new:
        with clock("encode images"):
            embeddings = encoder.encode_pixels(np.stack([image.pixels for image in new]))
    with clock("encode texts"):
        texts = _text_vectors(encoder, [*new, *updated], ledger)
    points = [_point(image, {"image": vector}, texts) for image, vector in zip(new, embeddings, strict=True)]
    return EncodedBatch(
        points,
        reports=[_point(image, {}, texts) for image in updated],
        rows=[image.row for image in images],
        quarantined=[image for image in batch if isinstance(image, Quarantined)],
    )


def _text_vectors(encoder: Encoder, images: Sequence[IndexableImage], ledger: Ledger) -> TextVectors:
    """The vectors of findings and impression by text. Each text is encoded once per bundle."""
    if not encoder.bundle.has_text:
        return {}
    sections = chain.from_iterable((image.payload.findings, image.payload.impression) for image in images)
    wanted = [text for text in dict.fromkeys(sections) if text]
    bundle_id = encoder.bundle.bundle_id
    known = ledger.texts(bundle_id, wanted)
    new = [text for text in wanted if text not in known]
    # Stored before the points are written, and read back in half precision: a resumed run then uses the same vectors.
    ledger.remember_texts(bundle_id, dict(zip(new, encoder.encode_texts(new), strict=True)))
    return known | ledger.texts(bundle_id, new)


def _point(image: IndexableImage, vectors: TextVectors, texts: TextVectors) -> IndexPoint:
    payload = image.payload
    of_sections = {
        name: texts[text] for name in ("findings", "impression") if (text := getattr(payload, name)) in texts
    }
    return IndexPoint(image.point_id, vectors | of_sections, payload.report_text, payload)
