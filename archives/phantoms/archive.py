"""A folder of phantoms in the three inputs that the Indiana source reads: two tables and the images."""

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
# Raised whenever the same seed would draw another picture or report, so that old folders are drawn anew.
EDITION = 1
POOL_FROM = 64
"""Studies from which on several processes draw."""
_CHUNK = 16

ReportRow = tuple[str, ...]
ProjectionRow = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class PhantomFiles:
    """Where an archive of phantoms lies."""

    reports_csv: Path
    projections_csv: Path
    images_dir: Path


def write_phantoms(
    folder: Path, studies: int, seed: int, *, progress: Callable[[int], None] | None = None
) -> PhantomFiles:
    """Draw `studies` studies into `folder`: `reports.csv`, `projections.csv` and `images/*.png`.

    The same arguments give the same bytes. A folder that already holds exactly this archive, complete, is left alone;
    of another archive, tables and images are replaced. `progress` is told the number of studies done, as they get done.

    Raises:
        InvalidRequest: less than one study, a negative seed, or a folder with tables that are no phantoms.
    """
    if studies < 1 or seed < 0:
        raise InvalidRequest(f"phantoms need at least 1 study and a seed of at least 0, not {studies} and {seed}")
    files = PhantomFiles(folder / "reports.csv", folder / "projections.csv", folder / "images")
    wanted = {"edition": EDITION, "seed": seed, "studies": studies}
    if _stands(folder, files, wanted):
        if progress:
            progress(studies)
        return files
    if not (folder / MARKER).is_file() and any(path.exists() for path in (files.reports_csv, files.projections_csv)):
        raise InvalidRequest(f"{folder} holds tables that are no phantoms; name another folder")
    files.images_dir.mkdir(parents=True, exist_ok=True)
    # Until the drawing is complete; an interrupted run is told from somebody's own files by it.
    (folder / MARKER).write_text(json.dumps({"state": "drawing"}) + "\n", encoding="utf-8")
    reports: list[ReportRow] = []
    projections: list[ProjectionRow] = []
    for report, views in _drawn(files.images_dir, studies, seed):
        reports.append(report)
        projections.extend(views)
        if progress:
            progress(len(reports))
    _sweep(files.images_dir, {filename for _, filename, _ in projections})
    _write_table(files.reports_csv, REPORT_COLUMNS, reports)
    _write_table(files.projections_csv, PROJECTION_COLUMNS, projections)
    # Last, so that an interrupted run is not taken for a complete one.
    (folder / MARKER).write_text(json.dumps(wanted | {"images": len(projections)}) + "\n", encoding="utf-8")
    return files


def _drawn(images_dir: Path, studies: int, seed: int) -> Iterator[tuple[ReportRow, list[ProjectionRow]]]:
    draw = partial(_draw_to_disk, images_dir, seed)
    workers = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 16)
    if studies < POOL_FROM or workers < 2:
        yield from map(draw, range(studies))
        return
    # Not fork: the caller may have threads running (onnxruntime, a progress bar).
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
        # Level 3 writes in a third of the default's time and is hardly larger.
        Image.fromarray(pixels).save(images_dir / filename, compress_level=3)
        views.append((study.uid, filename, projection))
    texts = (report.indication, report.comparison, report.findings, report.impression)
    return (study.uid, study.mesh, study.problems, study.technique, *texts), views


def _stands(folder: Path, files: PhantomFiles, wanted: dict[str, int]) -> bool:
    """Whether the folder holds this archive with every image its table names."""
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        with files.projections_csv.open(encoding="utf-8", newline="") as table:
            named = {row["filename"] for row in csv.DictReader(table)}
        present = {entry.name for entry in os.scandir(files.images_dir)}
    except (OSError, ValueError, KeyError):
        return False
    return marker == wanted | {"images": len(named)} and named <= present and files.reports_csv.is_file()


def _sweep(images_dir: Path, keep: set[str]) -> None:
    """Remove what an earlier archive of phantoms left, and nothing else."""
    for path in images_dir.glob("P*-*.png"):
        if _FILENAME.fullmatch(path.name) and path.name not in keep:
            path.unlink()


def _write_table(path: Path, header: tuple[str, ...], rows: list[ReportRow] | list[ProjectionRow]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8")
