"""Reads the points that a copy transfers, and compares the copy with its original."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec
import numpy as np

from retrieval.errors import IndexFailure, SourceDiffers, TransferFailed
from retrieval.index.interface import Collection, IndexPoint, Stored
from retrieval.index.schema import DENSE_VECTORS, Payload
from retrieval.index.search_request import FloatArray

PAGE = 200
"""Points that are sent, packed or compared at once: about 14 MB of JSON at three vectors of 1152 dimensions."""

MIN_COSINE = 0.999
"""Lowest cosine of equal vectors. Both engines keep half precision, which costs about 1e-7; a wrong vector is far below."""

_OTHER_IMAGES = 3
"""With fewer different images under the same ids, the images may just have changed."""


def pages(points: Iterable[IndexPoint]) -> Iterator[list[IndexPoint]]:
    """`points` in lists of at most `PAGE`."""
    rest = iter(points)
    while page := list(islice(rest, PAGE)):
        yield page


def read_points(collection: Collection) -> Iterator[IndexPoint]:
    """All points of `collection` in the order of their ids, ready to be written to another.

    Raises:
        IndexFailure: as `to_point`.
    """
    return (to_point(stored) for stored in collection.scroll(limit=None, vectors=DENSE_VECTORS))


def to_point(stored: Stored) -> IndexPoint:
    """The point that has to be written to an index to store `stored` there.

    Raises:
        IndexFailure: its payload lacks fields, or has fields that this version does not know and would lose.
    """
    try:
        payload = msgspec.convert(stored.payload, Payload)
    except msgspec.ValidationError as error:
        raise IndexFailure(f"the payload of point {stored.point_id} cannot be copied: {error}") from error
    if unknown := stored.payload.keys() - set(Payload.__struct_fields__):
        raise IndexFailure(f"the payload of point {stored.point_id} has fields unknown here: {', '.join(unknown)}")
    return IndexPoint(stored.point_id, stored.vectors, payload.report_text, payload)


def require_same_images(
    page: Sequence[IndexPoint], stored: Mapping[str, dict[str, Any]], target: Collection, location: str
) -> None:
    """Refuse to replace most of the payloads `stored` in `target` under the ids of `page` by those of other images.

    Raises:
        SourceDiffers: the points come from two archives that were ingested under one dataset name.
    """
    other = [p for p in page if p.point_id in stored and stored[p.point_id]["image_sha256"] != p.payload.image_sha256]
    if len(other) >= _OTHER_IMAGES and 2 * len(other) > len(stored):
        dataset = other[0].payload.dataset
        raise SourceDiffers(
            f"the collection {target.name} in {location} holds other images under {len(other):,} of "
            f"{len(stored):,} ids of the dataset {dataset} (last filled from "
            f"{target.meta.sources.get(dataset, 'a source that was not recorded')}). Ingest one of the two archives "
            "under another name with --dataset NAME, or replace the whole collection with --recreate"
        )


def verify_copy(target: Collection, samples: Sequence[IndexPoint], *, expected: int) -> None:
    """Check that `target` holds `expected` points, and that the `samples` in it equal what was sent.

    Raises:
        TransferFailed: naming the count, or the first point that differs.
    """
    found = target.count()
    if found != expected:
        raise TransferFailed(
            f"the collection {target.name} holds {found:,} images after the copy, expected {expected:,}. Another "
            "process may be writing to it; run the command again"
        )
    for page in pages(samples):
        stored = target.retrieve([point.point_id for point in page], vectors=DENSE_VECTORS)
        for point in page:
            difference = _difference(point, stored.get(point.point_id))
            if difference:
                raise TransferFailed(
                    f"point {point.point_id} of the copy in {target.name} differs from what was sent: {difference}. "
                    "Copy the collection again with --recreate"
                )


def _difference(point: IndexPoint, stored: Stored | None) -> str:
    """How the point that was read back differs from the one that was sent; empty if they are equal."""
    if stored is None:
        return "it is missing"
    if stored.payload != msgspec.to_builtins(point.payload):
        return "the payloads differ"
    if stored.vectors.keys() != point.vectors.keys():
        return f"it has the vectors {', '.join(sorted(stored.vectors))}, expected {', '.join(sorted(point.vectors))}"
    for name, vector in point.vectors.items():
        cosine = _cosine(vector, stored.vectors[name])
        if not cosine >= MIN_COSINE:
            return f"the cosine of its {name} vectors is {cosine:.4f}, expected at least {MIN_COSINE}"
    return ""


def _cosine(left: FloatArray, right: FloatArray) -> float:
    norms = float(np.linalg.norm(left) * np.linalg.norm(right))
    return float(left @ right) / norms if norms else 0.0
