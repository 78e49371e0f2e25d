"""From a batch of images that were read to the points and ledger rows that are written of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from ingest.concurrency import StageClock
from ingest.image_reader import PreparedImage
from ingest.ledger import Ledger
from ingest.ledger.schema import FileRow
from retrieval.index.interface import IndexPoint
from retrieval.model.encoder import Encoder
from retrieval.records import Quarantined

Batch = list[PreparedImage | Quarantined]


@dataclass(frozen=True, slots=True)
class EncodedBatch:
    """A batch ready to be written, without its pixels: new embeddings, new reports of old embeddings, ledger lines."""

    points: list[IndexPoint]
    reports: list[IndexPoint]
    rows: list[FileRow]
    quarantined: list[Quarantined]


def encode_batch(encoder: Encoder, clock: StageClock, batch: Batch, ledger: Ledger) -> EncodedBatch:
    """`batch` with its new images encoded, and those of its texts that the ledger has no vectors of."""
    items = [item for item in batch if isinstance(item, PreparedImage)]
    fresh = [item for item in items if item.is_new]
    reports = [item for item in items if not item.is_new and not item.is_unchanged]
    embeddings: Iterable[NDArray[np.float32]] = ()
    if fresh:
        with clock("encode images"):
            embeddings = encoder.encode_pixels(np.stack([item.pixels for item in fresh]))
    with clock("encode texts"):
        texts = _text_vectors(encoder, [*fresh, *reports], ledger)
    points = [_point(item, {"image": vector}, texts) for item, vector in zip(fresh, embeddings, strict=True)]
    return EncodedBatch(
        points,
        reports=[_point(item, {}, texts) for item in reports],
        rows=[item.row for item in items],
        quarantined=[item for item in batch if isinstance(item, Quarantined)],
    )


def _text_vectors(encoder: Encoder, items: Sequence[PreparedImage], ledger: Ledger) -> dict[str, NDArray[np.float32]]:
    """The vectors of the sections of `items`; a text that was encoded before is not encoded again."""
    if not encoder.bundle.has_text:
        return {}
    sections = chain.from_iterable((item.payload.findings, item.payload.impression) for item in items)
    wanted = [text for text in dict.fromkeys(sections) if text]
    bundle_id = encoder.bundle.bundle_id
    known = ledger.texts(bundle_id, wanted)
    new = [text for text in wanted if text not in known]
    # Kept before the points that use them are written, and used as they are kept: a run that resumes meets the same.
    ledger.remember_texts(bundle_id, dict(zip(new, encoder.encode_texts(new), strict=True)))
    return known | ledger.texts(bundle_id, new)


def _point(
    item: PreparedImage, vectors: dict[str, NDArray[np.float32]], texts: dict[str, NDArray[np.float32]]
) -> IndexPoint:
    payload = item.payload
    named = {name: texts[text] for name in ("findings", "impression") if (text := getattr(payload, name)) in texts}
    return IndexPoint(item.point_id, vectors | named, payload.report_text, payload)
