"""Whether a model's bundle, collection, thumbnails and ledger agree with each other, and what the collection holds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from retrieval.errors import BundleError, RetrievalError, UnknownModel
from retrieval.imaging.decode import PIXEL_RULES
from retrieval.index.completeness import why_incomplete
from retrieval.index.interface import Collection, FloatArray, Stored
from retrieval.index.schema import DENSE_VECTORS, TEXT_VECTORS
from retrieval.model.bundle import ModelBundle, find_bundle

Level = Literal["ok", "note", "problem"]
_SHOWN = 3
_THUMBNAIL = re.compile(r"[0-9a-f]{64}")
# Vectors are stored in half precision.
_NORM_SLACK = 5e-3


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One thing that was looked at: `problem` is for something that must be put right, `note` for something to know."""

    check: str
    level: Level
    message: str


@dataclass(frozen=True, slots=True)
class _Point:
    """A point without its vectors, which would fill the memory: `sound` says of each whether it is of unit norm."""

    point_id: str
    payload: dict[str, Any]
    sound: dict[str, bool]


@dataclass(slots=True)
class Diagnosis:
    """What was found of one collection, and its counts of images."""

    model: str
    collection: str
    findings: list[CheckResult] = field(default_factory=list)
    images: int = 0
    studies: int = 0
    by_view: dict[str, int] = field(default_factory=dict)
    by_dataset: dict[str, int] = field(default_factory=dict)
    by_label: dict[str, int] = field(default_factory=dict)
    unlabelled_share: float = 0.0

    @property
    def is_healthy(self) -> bool:
        """Whether there is no problem; notes do not count."""
        return all(finding.level != "problem" for finding in self.findings)

    def add(self, check: str, bad: bool, message: str, *, level: Level = "problem") -> None:
        """Note what `check` found; a check that is not `bad` is ok."""
        self.findings.append(CheckResult(check, level if bad else "ok", message))

    def to_dict(self) -> dict[str, Any]:
        """The document that `cxr doctor --json` prints."""
        return asdict(self) | {"healthy": self.is_healthy}


def diagnose(
    model: str,
    collection: Collection,
    models_dir: Path,
    *,
    ledger: frozenset[tuple[str, str]] | RetrievalError | None = None,
) -> tuple[Diagnosis, frozenset[str]]:
    """Look at one model and its collection, and give also the SHA-256 of its images.

    Args:
        model: Name of the model.
        collection: Its collection.
        models_dir: Where bundles are installed.
        ledger: Dataset and image id of all images that the ledger calls indexed; None if there is no ledger, and the
            error that says why if it cannot be read.
    """
    found = Diagnosis(model, collection.name)
    dim = collection.meta.dim
    points = [_examined(point, dim) for point in collection.scroll(limit=None, vectors=DENSE_VECTORS)]
    bundle = _check_bundle(found, model, models_dir, collection)
    _count(found, points)
    _check_completeness(found, collection)
    _check_vectors(found, points, dim)
    _check_texts(found, points, bundle)
    _check_calibration(found, collection, bundle, points)
    _check_labels(found, points)
    _check_pixels(found, collection)
    _check_duplicates(found, points)
    _check_ledger(found, points, ledger)
    return found, frozenset(str(point.payload["image_sha256"]) for point in points)


def check_thumbnails(found: Diagnosis, mine: frozenset[str], every: frozenset[str], media_dir: Path) -> None:
    """Thumbnails that images of this collection (`mine`) lack, and those that no collection (`every`) has an image for."""
    if not media_dir.is_dir():
        found.add("thumbnails", True, f"there are none in {media_dir}", level="note")
        return
    drawn = {path.stem for path in media_dir.glob("??/*.webp") if _THUMBNAIL.fullmatch(path.stem)}
    lacking, orphans = mine - drawn, drawn - every
    found.add(
        "thumbnails",
        bool(lacking),
        f"{len(mine) - len(lacking):,} of {len(mine):,} different images have one",
        level="note",
    )
    found.add(
        "orphaned thumbnails",
        bool(orphans),
        f"{len(orphans):,} thumbnails in {media_dir} belong to no collection of this index{_some(orphans)}",
    )


def _check_bundle(found: Diagnosis, model: str, models_dir: Path, collection: Collection) -> ModelBundle | None:
    try:
        bundle = find_bundle(model, models_dir)
    except (BundleError, UnknownModel) as error:
        found.add("bundle", True, str(error))
        return None
    same = bundle.bundle_id == collection.meta.bundle_id
    found.add(
        "bundle",
        not same,
        f"{bundle.bundle_id}, every checksum right"
        if same
        else f"installed is {bundle.bundle_id}, the collection was built with {collection.meta.bundle_id}",
    )
    return bundle


def _count(found: Diagnosis, points: list[_Point]) -> None:
    payloads = [point.payload for point in points]
    found.images = len(points)
    found.studies = len({(payload["dataset"], payload["study_id"]) for payload in payloads})
    found.by_view = _counted(payload["view"] for payload in payloads)
    found.by_dataset = _counted(payload["dataset"] for payload in payloads)
    found.by_label = _counted(name for payload in payloads for name in payload["present"])


def _check_completeness(found: Diagnosis, collection: Collection) -> None:
    meta = collection.meta
    found.add("complete", not meta.complete, why_incomplete(meta) or "every ingest came to its end")
    recorded = dict(sorted(meta.counts.items()))
    held = dict(sorted(found.by_dataset.items()))
    found.add("counts", recorded != held, f"images by dataset: recorded {recorded}, held {held}")


def _examined(point: Stored, dim: int) -> _Point:
    def is_sound(vector: FloatArray) -> bool:
        # NaN is below nothing.
        return vector.shape == (dim,) and bool(abs(float(np.linalg.norm(vector)) - 1) <= _NORM_SLACK)

    return _Point(point.point_id, point.payload, {name: is_sound(vector) for name, vector in point.vectors.items()})


def _check_vectors(found: Diagnosis, points: list[_Point], dim: int) -> None:
    without = [point.point_id for point in points if "image" not in point.sound]
    wrong = [point.point_id for point in points if not all(point.sound.values())]
    message = (
        f"{len(without):,} images without a vector, {len(wrong):,} with one that is not of unit norm and {dim} long"
    )
    found.add("vectors", bool(without or wrong), message + _some([*without, *wrong]))


def _check_texts(found: Diagnosis, points: list[_Point], bundle: ModelBundle | None) -> None:
    if bundle is not None and not bundle.has_text:
        found.add("report vectors", True, "the model has no text tower", level="note")
        return
    lacking = [
        point.point_id
        for point in points
        if any(bool(point.payload[name]) != (name in point.sound) for name in TEXT_VECTORS)
    ]
    found.add(
        "report vectors",
        bool(lacking),
        f"{len(lacking):,} images whose findings or impression have text and no vector, or the reverse{_some(lacking)}",
    )


def _check_calibration(
    found: Diagnosis, collection: Collection, bundle: ModelBundle | None, points: list[_Point]
) -> None:
    has_reports = any(name in point.sound for point in points for name in TEXT_VECTORS)
    wanted = ["image/image"]
    if has_reports and (bundle is None or bundle.has_text):
        wanted += ["image/findings", "image/impression", "text/image", "text/findings"]
    scales = collection.meta.calibration
    missing = [name for name in wanted if name not in scales]
    upside_down = [name for name, scale in scales.items() if not scale.one > scale.zero]
    without = [name for name, scale in scales.items() if not scale.quantiles]
    message = f"{len(scales)} scales" + (f"; missing: {', '.join(missing)}" if missing else "")
    message += f"; without a spread: {', '.join(upside_down)}" if upside_down else ""
    # A collection of a few alike images has no scale of its own, and searches do without.
    found.add("calibration", bool(missing or upside_down), message, level="problem" if upside_down else "note")
    if without:
        found.add("percentiles", True, f"{', '.join(without)}: of an earlier version; ingest again", level="note")


def _check_labels(found: Diagnosis, points: list[_Point]) -> None:
    bare = [p for p in points if not any(p.payload[name] for name in ("present", "uncertain", "absent"))]
    found.unlabelled_share = round(len(bare) / len(points), 4) if points else 0.0
    found.add(
        "labels",
        found.unlabelled_share > 0.5,
        f"{len(bare):,} of {len(points):,} images ({found.unlabelled_share:.0%}) have none; filters cannot find these",
        level="note",
    )
    told = any(p.payload.get("from_indexing") or p.payload.get("from_text") for p in points)
    found.add(
        "label sources", not told, "recorded" if told else "not recorded: ingested before they were", level="note"
    )


def _check_pixels(found: Diagnosis, collection: Collection) -> None:
    older = [name for name in collection.meta.counts if collection.meta.pixel_rules.get(name) != PIXEL_RULES]
    message = (
        f"images of {_some(older)} were read by pixel rules of an earlier version (docs/explanation/pixels.md); ingest again"
        if older
        else "read by the rules of this version"
    )
    found.add("pixels", bool(older), message, level="note")


def _check_duplicates(found: Diagnosis, points: list[_Point]) -> None:
    copies = {sha: count for sha, count in Counter(p.payload["image_sha256"] for p in points).items() if count > 1}
    found.add(
        "duplicate images",
        bool(copies),
        f"{len(copies):,} files are held more than once, {sum(copies.values()) - len(copies):,} copies{_some(copies)}",
        level="note",
    )
    groups = {(p.payload["report_group"], p.payload["dataset"], p.payload["study_id"]) for p in points}
    reports = Counter(group for group, *_ in groups if group)
    repeated = sum(count for count in reports.values() if count > 1)
    found.add(
        "duplicate reports",
        bool(repeated),
        f"{repeated:,} of {reports.total():,} studies with a report share its words with another",
        level="note",
    )


def _check_ledger(
    found: Diagnosis, points: list[_Point], ledger: frozenset[tuple[str, str]] | RetrievalError | None
) -> None:
    if isinstance(ledger, RetrievalError):
        found.add("ledger", True, str(ledger))
        return
    if ledger is None:
        found.add("ledger", True, "none here: ingested on another machine, or by a program without one", level="note")
        return
    held = {(str(p.payload["dataset"]), str(p.payload["image_id"])) for p in points}
    gone, unknown = ledger - held, held - ledger
    found.add(
        "ledger rows without points",
        bool(gone),
        f"{len(gone):,} images that the ledger calls indexed are not in the collection{_some('/'.join(g) for g in gone)}",
    )
    # Another machine may have ingested them: nothing is wrong, they are only read again.
    found.add(
        "points without ledger rows",
        bool(unknown),
        f"{len(unknown):,} images are not in the ledger{_some('/'.join(each) for each in unknown)}",
        level="note",
    )


def _counted(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _some(names: Iterable[str]) -> str:
    first = sorted(names)[:_SHOWN]
    return f"; the first: {', '.join(first)}" if first else ""
