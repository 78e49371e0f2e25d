"""Archives for measurements: the first studies of the Indiana collection, and phantoms at the size of real radiographs."""

from __future__ import annotations

import csv
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from archives.phantoms import PhantomFiles, write_phantoms
from archives.source_spec import SourceSpec
from benchmarks.indiana import FOLDER
from retrieval.records import Source

SIDE = 2048
INPUTS = ("indiana", "png_2048", "dicom_2048")


@dataclass(frozen=True, slots=True)
class Archive:
    """How to open an archive, and the number of its images."""

    spec: SourceSpec
    images: int

    def open(self, home: Path) -> Source:
        """The source. `home` holds the salt for DICOM."""
        return self.spec.open(home)


def indiana_files() -> PhantomFiles | None:
    """The files of the Indiana collection; None without it."""
    folder = FOLDER.absolute()
    if not folder.is_dir():
        return None
    return PhantomFiles(folder / "indiana_reports.csv", folder / "indiana_projections.csv", folder / "images")


def write_archive(kind: str, folder: Path, images: int) -> Archive:
    """An archive of `images` images in `folder`. `kind` is one of `INPUTS`; phantoms of 256 px replace an absent Indiana."""
    if kind == "indiana":
        files = indiana_files()
        if files is None:
            files = write_phantoms(folder / "phantoms", images, seed=3)
        return _indiana_form(_first_images(files, folder / "cut", images), images)
    phantoms = write_phantoms(folder / "phantoms", images, seed=3)
    large = folder / kind
    large.mkdir(parents=True)
    if kind == "png_2048":
        files = _first_images(phantoms, large, images)
        names = [row[1] for row in _rows(files.projections_csv)]
        for number, name in enumerate(names):
            eight_bit = enlarge(phantoms.images_dir / name, number) >> 4
            Image.fromarray(eight_bit.astype(np.uint8)).save(large / name)
        return _indiana_form(PhantomFiles(files.reports_csv, files.projections_csv, large), images)
    return _write_dicom(phantoms, large, images)


def enlarge(path: Path, seed: int) -> NDArray[np.uint16]:
    """A phantom at 2,048 x 2,048 and 12 bits (0..4095), with the noise of a detector of that size."""
    image = Image.open(path).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    grain = np.random.default_rng(seed).normal(0, 12, (SIDE, SIDE)).astype(np.float32)
    pixels: NDArray[np.uint16] = (np.asarray(image, dtype=np.float32) * 16 + grain).clip(0, 4095).astype(np.uint16)
    return pixels


def _indiana_form(files: PhantomFiles, images: int) -> Archive:
    options = {
        "reports_csv": str(files.reports_csv),
        "projections_csv": str(files.projections_csv),
        "images_dir": str(files.images_dir),
    }
    return Archive(SourceSpec("indiana", "bench", options), images)


def _first_images(files: PhantomFiles, folder: Path, images: int) -> PhantomFiles:
    """Tables of the first `images` images whose files exist. Studies may be incomplete."""
    folder.mkdir(parents=True, exist_ok=True)
    header, *rows = _rows(files.projections_csv, header=True)
    existing = {entry.name for entry in os.scandir(files.images_dir)}
    kept = [row for row in rows if row[1] in existing][:images]
    with (folder / "projections.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *kept])
    shutil.copyfile(files.reports_csv, folder / "reports.csv")
    return PhantomFiles(folder / "reports.csv", folder / "projections.csv", files.images_dir)


def _rows(path: Path, *, header: bool = False) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    return rows if header else rows[1:]


def _write_dicom(phantoms: PhantomFiles, folder: Path, images: int) -> Archive:
    """Uncompressed 12-bit DICOM files with a window, and a table of reports by accession number."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

    rows = _rows(phantoms.projections_csv)[:images]
    studies = {uid: generate_uid() for uid, *_ in rows}
    for number, (uid, name, view) in enumerate(rows):
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        data.StudyInstanceUID, data.SeriesInstanceUID = studies[uid], generate_uid()
        data.Modality, data.AccessionNumber = "DX", uid
        data.ViewPosition = "PA" if view == "Frontal" else "LL"
        data.Rows = data.Columns = SIDE
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
        data.WindowCenter, data.WindowWidth = "2048", "4096"
        data.PixelData = enlarge(phantoms.images_dir / name, number).tobytes()
        data["PixelData"].VR = "OW"
        data.save_as(folder / f"{number:05}.dcm", enforce_file_format=True)
    table = folder.parent / "reports_by_accession.csv"
    reports = phantoms.reports_csv.read_text(encoding="utf-8")
    table.write_text(reports.replace("uid,", "accession_number,", 1), encoding="utf-8")
    options = {"dicom_dir": str(folder), "reports_csv": str(table)}
    return Archive(SourceSpec("dicom", "bench", options), images)
