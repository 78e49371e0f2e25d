"""Writes a folder of phantoms in the layout of the Indiana source: two tables and the images."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from PIL import Image

from archives.phantoms.study import draw_study
from retrieval.errors import InvalidRequest

REPORT_COLUMNS = ("uid", "MeSH", "Problems", "image", "indication", "comparison", "findings", "impression")
PROJECTION_COLUMNS = ("uid", "filename", "projection")
MARKER = "phantoms.json"
_FILENAME = re.compile(r"P\d+-\d+-(frontal|lateral)\.png")
# Raise this number when a seed gives other images or reports, so that old folders are drawn again.
EDITION = 1
POOL_FROM = 64
"""From this number of studies on, several processes draw."""
_CHUNK = 16

ReportRow = tuple[str, ...]
ProjectionRow = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class PhantomFiles:
    """The paths of an archive of phantoms."""

    reports_csv: Path
    projections_csv: Path
    images_dir: Path


def write_phantoms(
    folder: Path, studies: int, seed: int, *, progress: Callable[[int], None] | None = None
) -> PhantomFiles:
    """Draw `studies` studies into `folder`: `reports.csv`, `projections.csv` and `images/*.png`.

    The same arguments give the same bytes. A folder that already has exactly this archive is left unchanged. Tables and
    images of another phantom archive are replaced. `progress` receives the number of finished studies.

    Raises:
        InvalidRequest: less than one study, a negative seed, or a folder with tables that are not phantoms.
    """
    if studies < 1 or seed < 0:
        raise InvalidRequest(f"phantoms need at least 1 study and a seed of at least 0, not {studies} and {seed}")
    files = PhantomFiles(folder / "reports.csv", folder / "projections.csv", folder / "images")
    wanted = {"edition": EDITION, "seed": seed, "studies": studies}
    if _is_complete(folder, files, wanted):
        if progress:
            progress(studies)
        return files
    if not (folder / MARKER).is_file() and any(path.exists() for path in (files.reports_csv, files.projections_csv)):
        raise InvalidRequest(f"{folder} contains tables that are not phantoms; name another folder")
    files.images_dir.mkdir(parents=True, exist_ok=True)
    # Marks a folder that is being drawn, so that an interrupted run is not mistaken for somebody's own files.
    (folder / MARKER).write_text(json.dumps({"state": "drawing"}) + "\n", encoding="utf-8")
    reports: list[ReportRow] = []
    projections: list[ProjectionRow] = []
    for report, views in _draw_studies(files.images_dir, studies, seed):
        reports.append(report)
        projections.extend(views)
        if progress:
            progress(len(reports))
    _remove_old_images(files.images_dir, {filename for _, filename, _ in projections})
    _write_table(files.reports_csv, REPORT_COLUMNS, reports)
    _write_table(files.projections_csv, PROJECTION_COLUMNS, projections)
    # Last, so that an interrupted run does not look complete.
    (folder / MARKER).write_text(json.dumps(wanted | {"images": len(projections)}) + "\n", encoding="utf-8")
    return files


def _draw_studies(images_dir: Path, studies: int, seed: int) -> Iterator[tuple[ReportRow, list[ProjectionRow]]]:
    draw = partial(_draw_to_disk, images_dir, seed)
    workers = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 16)
    if studies < POOL_FROM or workers < 2:
        yield from map(draw, range(studies))
        return
    # No fork: the caller may run threads (onnxruntime, a progress bar).
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(draw, range(studies), chunksize=_CHUNK)


def _draw_to_disk(images_dir: Path, seed: int, number: int) -> tuple[ReportRow, list[ProjectionRow]]:
    study = draw_study(seed, number)
    report = study.report
    views: list[ProjectionRow] = []
    for projection, pixels in (("Frontal", study.frontal), ("Lateral", study.lateral)):
        if pixels is None:
            continue
        filename = f"{study.uid}-{projection.lower()}.png"
        # Level 3 takes a third of the default's time, and the file is hardly larger.
        Image.fromarray(pixels).save(images_dir / filename, compress_level=3)
        views.append((study.uid, filename, projection))
    texts = (report.indication, report.comparison, report.findings, report.impression)
    return (study.uid, study.mesh, study.problems, study.technique, *texts), views


def _is_complete(folder: Path, files: PhantomFiles, wanted: dict[str, int]) -> bool:
    """Whether the folder has this archive with all images that its table names."""
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        with files.projections_csv.open(encoding="utf-8", newline="") as table:
            named = {row["filename"] for row in csv.DictReader(table)}
        present = {entry.name for entry in os.scandir(files.images_dir)}
    except (OSError, ValueError, KeyError):
        return False
    return marker == wanted | {"images": len(named)} and named <= present and files.reports_csv.is_file()


def _remove_old_images(images_dir: Path, keep: set[str]) -> None:
    """Remove images of an earlier phantom archive, and no other files."""
    for path in images_dir.glob("P*-*.png"):
        if _FILENAME.fullmatch(path.name) and path.name not in keep:
            path.unlink()


def _write_table(path: Path, header: tuple[str, ...], rows: list[ReportRow] | list[ProjectionRow]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8")
