"""Checks of one collection: whether its bundle, points, thumbnails and ledger agree, and what it holds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ingest.doctor.checks import Diagnosis, list_first
from ingest.thumbnails import thumbnail_link
from retrieval.errors import BundleError, RetrievalError, UnknownModel
from retrieval.imaging.decode import PIXEL_RULES
from retrieval.index.completeness import why_incomplete
from retrieval.index.interface import Collection, Stored
from retrieval.index.schema import DENSE_VECTORS, TEXT_VECTORS
from retrieval.index.search_request import FloatArray
from retrieval.model.bundle import ModelBundle, find_bundle

_THUMBNAIL = re.compile(r"[0-9a-f]{64}")
_NORM_TOLERANCE = 5e-3  # vectors are stored in half precision


@dataclass(frozen=True, slots=True)
class _Point:
    """A point without its vectors, which would fill the memory; `has_unit_norm` by name of vector."""

    point_id: str
    payload: dict[str, Any]
    has_unit_norm: dict[str, bool]


def diagnose(
    model: str,
    collection: Collection,
    models_dir: Path,
    *,
    ledger: frozenset[tuple[str, str]] | RetrievalError | None = None,
    public_url: str | None = None,
) -> tuple[Diagnosis, frozenset[str]]:
    """The diagnosis of one model and its collection, and the SHA-256 of its images.

    Args:
        model: Name of the model.
        collection: Its collection.
        models_dir: Where bundles are installed.
        ledger: Dataset and image id of all indexed images in the ledger; None without a ledger; the error if the ledger
            cannot be read.
        public_url: Where browsers reach the service, by the settings.
    """
    diagnosis = Diagnosis(model, collection.name)
    dim = collection.meta.dim
    points = [_check_norms(point, dim) for point in collection.scroll(limit=None, vectors=DENSE_VECTORS)]
    bundle = _check_bundle(diagnosis, model, models_dir, collection)
    _count_images(diagnosis, points)
    _check_completeness(diagnosis, collection)
    _check_vectors(diagnosis, points, dim)
    _check_report_vectors(diagnosis, points, bundle)
    _check_calibration(diagnosis, collection, bundle, points)
    _check_labels(diagnosis, points)
    _check_pixels(diagnosis, collection)
    _check_duplicates(diagnosis, points)
    _check_links(diagnosis, points, public_url)
    _check_ledger(diagnosis, points, ledger)
    return diagnosis, frozenset(str(point.payload["image_sha256"]) for point in points)


def check_thumbnails(diagnosis: Diagnosis, mine: frozenset[str], every: frozenset[str], media_dir: Path) -> None:
    """Check for missing and orphaned thumbnails.

    `mine` are the hashes of the images of this collection, `every` those of all collections.
    """
    if not media_dir.is_dir():
        diagnosis.add("thumbnails", True, f"no thumbnails in {media_dir}", level="note")
        return
    existing = {path.stem for path in media_dir.glob("??/*.webp") if _THUMBNAIL.fullmatch(path.stem)}
    missing, orphans = mine - existing, existing - every
    diagnosis.add(
        "thumbnails",
        bool(missing),
        f"{len(mine) - len(missing):,} of {len(mine):,} different images have one",
        level="note",
    )
    diagnosis.add(
        "orphaned thumbnails",
        bool(orphans),
        f"{len(orphans):,} thumbnails in {media_dir} belong to no image of this index{list_first(orphans)}",
    )


def _check_bundle(diagnosis: Diagnosis, model: str, models_dir: Path, collection: Collection) -> ModelBundle | None:
    try:
        bundle = find_bundle(model, models_dir)
    except (BundleError, UnknownModel) as error:
        diagnosis.add("bundle", True, str(error))
        return None
    same = bundle.bundle_id == collection.meta.bundle_id
    diagnosis.add(
        "bundle",
        not same,
        f"{bundle.bundle_id}, all checksums match"
        if same
        else f"{bundle.bundle_id} is installed, but the collection was built with {collection.meta.bundle_id}",
    )
    return bundle


def _count_images(diagnosis: Diagnosis, points: list[_Point]) -> None:
    payloads = [point.payload for point in points]
    diagnosis.images = len(points)
    diagnosis.studies = len({(payload["dataset"], payload["study_id"]) for payload in payloads})
    diagnosis.by_view = _count_values(payload["view"] for payload in payloads)
    diagnosis.by_dataset = _count_values(payload["dataset"] for payload in payloads)
    diagnosis.by_label = _count_values(name for payload in payloads for name in payload["present"])


def _check_completeness(diagnosis: Diagnosis, collection: Collection) -> None:
    meta = collection.meta
    diagnosis.add("complete", not meta.complete, why_incomplete(meta) or "no ingest is pending")
    recorded = dict(sorted(meta.counts.items()))
    held = dict(sorted(diagnosis.by_dataset.items()))
    diagnosis.add("counts", recorded != held, f"images by dataset: recorded {recorded}, found {held}")


def _check_norms(point: Stored, dim: int) -> _Point:
    def is_sound(vector: FloatArray) -> bool:
        # This comparison is false for NaN.
        return vector.shape == (dim,) and bool(abs(float(np.linalg.norm(vector)) - 1) <= _NORM_TOLERANCE)

    return _Point(point.point_id, point.payload, {name: is_sound(vector) for name, vector in point.vectors.items()})


def _check_vectors(diagnosis: Diagnosis, points: list[_Point], dim: int) -> None:
    without = [point.point_id for point in points if "image" not in point.has_unit_norm]
    wrong = [point.point_id for point in points if not all(point.has_unit_norm.values())]
    message = (
        f"{len(without):,} images without a vector, {len(wrong):,} with a vector not of {dim} dimensions and unit norm"
    )
    diagnosis.add("vectors", bool(without or wrong), message + list_first([*without, *wrong]))


def _check_report_vectors(diagnosis: Diagnosis, points: list[_Point], bundle: ModelBundle | None) -> None:
    if bundle is not None and not bundle.has_text:
        diagnosis.add("report vectors", True, "the model has no text tower", level="note")
        return
    lacking = [
        point.point_id
        for point in points
        if any(bool(point.payload[name]) != (name in point.has_unit_norm) for name in TEXT_VECTORS)
    ]
    diagnosis.add(
        "report vectors",
        bool(lacking),
        f"{len(lacking):,} images with findings or impression but no vector of it, or the reverse{list_first(lacking)}",
    )


def _check_calibration(
    diagnosis: Diagnosis, collection: Collection, bundle: ModelBundle | None, points: list[_Point]
) -> None:
    has_reports = any(name in point.has_unit_norm for point in points for name in TEXT_VECTORS)
    wanted = ["image/image"]
    if has_reports and (bundle is None or bundle.has_text):
        wanted += ["image/findings", "image/impression", "text/image", "text/findings"]
    scales = collection.meta.calibration
    missing = [name for name in wanted if name not in scales]
    invalid = [name for name, scale in scales.items() if not scale.one > scale.zero]
    without = [name for name, scale in scales.items() if not scale.quantiles]
    message = f"{len(scales)} scales" + (f"; missing: {', '.join(missing)}" if missing else "")
    message += f"; constant: {', '.join(invalid)}" if invalid else ""
    # A collection of a few similar images has no scale; searches work without one.
    diagnosis.add("calibration", bool(missing or invalid), message, level="problem" if invalid else "note")
    if without:
        diagnosis.add(
            "percentiles", True, f"{', '.join(without)}: missing, as in earlier versions; ingest again", level="note"
        )


def _check_labels(diagnosis: Diagnosis, points: list[_Point]) -> None:
    unlabelled = [p for p in points if not any(p.payload[name] for name in ("present", "uncertain", "absent"))]
    diagnosis.unlabelled_share = round(len(unlabelled) / len(points), 4) if points else 0.0
    diagnosis.add(
        "labels",
        diagnosis.unlabelled_share > 0.5,
        f"{len(unlabelled):,} of {len(points):,} images ({diagnosis.unlabelled_share:.0%}) have no label",
        level="note",
    )
    recorded = any(p.payload.get("from_indexing") or p.payload.get("from_text") for p in points)
    diagnosis.add(
        "label sources",
        not recorded,
        "recorded" if recorded else "not recorded, as in earlier versions; ingest again",
        level="note",
    )


def _check_pixels(diagnosis: Diagnosis, collection: Collection) -> None:
    older = [name for name in collection.meta.counts if collection.meta.pixel_rules.get(name) != PIXEL_RULES]
    message = (
        f"images of {', '.join(sorted(older))} were read by pixel rules of an earlier version (docs/explanation/pixels.md); "
        "ingest again"
        if older
        else "read by the pixel rules of this version"
    )
    diagnosis.add("pixels", bool(older), message, level="note")


def _check_links(diagnosis: Diagnosis, points: list[_Point], public_url: str | None) -> None:
    """Check that payloads link to their thumbnails at the address of the settings."""
    links = [(point.payload.get("thumbnail_url"), str(point.payload["image_sha256"])) for point in points]
    if public_url is None:
        linked = {link.partition("/v1/images/")[0] for link, _ in links if link}
        if linked:
            message = f"payloads link to {', '.join(sorted(linked))}, but CXR_PUBLIC_URL is not set here"
            diagnosis.add("thumbnail links", True, message, level="note")
        return
    stale = sum(link != thumbnail_link(public_url, sha256) for link, sha256 in links)
    diagnosis.add(
        "thumbnail links",
        bool(stale),
        f"{len(links) - stale:,} of {len(links):,} images link to {public_url} (CXR_PUBLIC_URL)"
        + ("; ingest again, which changes payloads only" if stale else ""),
    )


def _check_duplicates(diagnosis: Diagnosis, points: list[_Point]) -> None:
    copies = {sha: count for sha, count in Counter(p.payload["image_sha256"] for p in points).items() if count > 1}
    diagnosis.add(
        "duplicate images",
        bool(copies),
        f"{len(copies):,} files are in the collection more than once, {sum(copies.values()) - len(copies):,} copies"
        + list_first(copies),
        level="note",
    )
    groups = {(p.payload["report_group"], p.payload["dataset"], p.payload["study_id"]) for p in points}
    reports = Counter(group for group, *_ in groups if group)
    repeated = sum(count for count in reports.values() if count > 1)
    diagnosis.add(
        "duplicate reports",
        bool(repeated),
        f"{repeated:,} of {reports.total():,} studies with a report have the same text as another study",
        level="note",
    )


def _check_ledger(
    diagnosis: Diagnosis, points: list[_Point], ledger: frozenset[tuple[str, str]] | RetrievalError | None
) -> None:
    if isinstance(ledger, RetrievalError):
        diagnosis.add("ledger", True, str(ledger))
        return
    if ledger is None:
        diagnosis.add(
            "ledger",
            True,
            "no ledger here: ingested on another machine, or without a ledger",
            level="note",
        )
        return
    held = {(str(p.payload["dataset"]), str(p.payload["image_id"])) for p in points}
    gone, unknown = ledger - held, held - ledger
    diagnosis.add(
        "ledger rows without points",
        bool(gone),
        f"{len(gone):,} images are indexed in the ledger and not in the collection{list_first('/'.join(g) for g in gone)}",
    )
    # Not a problem: another machine may have ingested them. A further ingest here only reads them again.
    diagnosis.add(
        "points without ledger rows",
        bool(unknown),
        f"{len(unknown):,} images are not in the ledger{list_first('/'.join(each) for each in unknown)}",
        level="note",
    )


def _count_values(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())
