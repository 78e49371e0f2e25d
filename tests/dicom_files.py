"""DICOM files for tests, written by pydicom from arrays and elements."""

from __future__ import annotations

import io
import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom._uid_dict import UID_dictionary
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
    generate_uid,
)

PATIENT = "PRIVATE^PATIENT"
PATIENT_ID = "MRN-4711-SECRET"
BIRTH_DATE = "19471231"


def dataset_of(stored: NDArray[Any] | None = None, **elements: Any) -> Dataset:
    """A radiograph's data set: `stored` as its pixels, unless None, and `elements` over the defaults; None removes one."""
    dataset = Dataset()
    dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID = generate_uid()
    dataset.SeriesInstanceUID = generate_uid()
    dataset.Modality = "CR"
    dataset.PatientName = PATIENT
    dataset.PatientID = PATIENT_ID
    dataset.PatientBirthDate = BIRTH_DATE
    if stored is not None:
        bits = 8 * stored.dtype.itemsize
        dataset.Rows, dataset.Columns = stored.shape[:2]
        dataset.SamplesPerPixel = 1 if stored.ndim == 2 else 3
        dataset.PhotometricInterpretation = "MONOCHROME2" if stored.ndim == 2 else "RGB"
        if stored.ndim == 3:
            dataset.PlanarConfiguration = 0
        dataset.BitsAllocated = dataset.BitsStored = bits
        dataset.HighBit = (elements.get("BitsStored") or bits) - 1
        dataset.PixelRepresentation = int(stored.dtype.kind == "i")
        dataset.PixelData = stored.tobytes() + b"\0" * (stored.nbytes % 2)
        dataset["PixelData"].VR = "OW" if bits == 16 else "OB"
    for keyword, value in elements.items():
        if value is not None:
            setattr(dataset, keyword, value)
        elif keyword in dataset:
            delattr(dataset, keyword)
    return dataset


def written(dataset: Dataset, syntax: str = ExplicitVRLittleEndian, *, preamble: bytes = bytes(128)) -> bytes:
    """The bytes of the file that holds `dataset`."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", ComputedRadiographyImageStorage)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", "1.2.3")
    dataset.preamble = preamble
    buffer = io.BytesIO()
    if syntax in UID_dictionary:
        dataset.save_as(buffer, enforce_file_format=True)
    else:
        dataset.save_as(buffer, enforce_file_format=True, implicit_vr=False, little_endian=True)
    return buffer.getvalue()


def dicom(stored: NDArray[Any] | None = None, *, syntax: str = ExplicitVRLittleEndian, **elements: Any) -> bytes:
    """A file with `stored` as its pixels, compressed as `syntax` says."""
    dataset = dataset_of(stored, **elements)
    if syntax == RLELossless:
        assert stored is not None
        return with_frame(dataset, run_length_frame(stored), syntax)
    if syntax == JPEG2000Lossless and stored is not None:
        buffer = io.BytesIO()
        Image.fromarray(stored).save(buffer, "JPEG2000", irreversible=False, no_jp2=True)
        return with_frame(dataset, buffer.getvalue(), syntax)
    if syntax == ExplicitVRBigEndian and stored is not None and stored.dtype.itemsize == 2:
        dataset.PixelData = stored.astype(stored.dtype.newbyteorder(">")).tobytes()
    return written(dataset, syntax)


def with_frame(dataset: Dataset, frame: bytes, syntax: str) -> bytes:
    """A file whose pixels are the compressed `frame`, whatever `dataset` says of them."""
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return written(dataset, syntax)


def run_length_frame(stored: NDArray[Any]) -> bytes:
    """`stored` in RLE (PS3.5 annex G): a segment for each byte of each sample, the most significant first."""
    samples = stored.reshape(*stored.shape[:2], -1)
    segments = []
    for sample in range(samples.shape[2]):
        octets = np.ascontiguousarray(samples[:, :, sample]).view(np.uint8).reshape(*stored.shape[:2], -1)
        for octet in reversed(range(octets.shape[2])):
            segment = b"".join(_packed(row.tobytes()) for row in octets[:, :, octet])
            segments.append(segment + b"\0" * (len(segment) % 2))
    starts = [64 + sum(map(len, segments[:number])) for number in range(len(segments))]
    header = np.array([len(segments), *starts, *[0] * (15 - len(starts))], "<u4")
    return header.tobytes() + b"".join(segments)


def _packed(row: bytes) -> bytes:
    packed = b""
    for value, run in itertools.groupby(row):
        count = len(list(run))
        while count:
            part = min(count, 128)
            packed += bytes([0, value]) if part == 1 else bytes([257 - part, value])
            count -= part
    return packed


def lut(entries: list[int], *, first: int = 0, bits: int = 16, signed: bool = False) -> Sequence:
    """A sequence of one table, for ModalityLUTSequence and VOILUTSequence."""
    item = Dataset()
    item.add_new(0x00283002, "SS" if signed else "US", [len(entries), first, bits])
    item.add_new(0x00283006, "US", entries)
    return Sequence([item])


SYNTAXES = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEG2000Lossless,
)
