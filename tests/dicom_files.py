"""DICOM files for tests; pydicom writes them from arrays and elements."""

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


def make_dataset(stored: NDArray[Any] | None = None, **elements: Any) -> Dataset:
    """A data set of a radiograph with the pixels `stored`. `elements` replace its defaults; None removes an element."""
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


def encode_dataset(dataset: Dataset, syntax: str = ExplicitVRLittleEndian, *, preamble: bytes = bytes(128)) -> bytes:
    """The bytes of a DICOM file with `dataset`."""
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


def make_dicom(stored: NDArray[Any] | None = None, *, syntax: str = ExplicitVRLittleEndian, **elements: Any) -> bytes:
    """The bytes of a DICOM file with the pixels `stored`, compressed if `syntax` requires it."""
    dataset = make_dataset(stored, **elements)
    if syntax == RLELossless:
        assert stored is not None
        return make_compressed_dicom(dataset, encode_rle(stored), syntax)
    if syntax == JPEG2000Lossless and stored is not None:
        buffer = io.BytesIO()
        Image.fromarray(stored).save(buffer, "JPEG2000", irreversible=False, no_jp2=True)
        return make_compressed_dicom(dataset, buffer.getvalue(), syntax)
    if syntax == ExplicitVRBigEndian and stored is not None and stored.dtype.itemsize == 2:
        dataset.PixelData = stored.astype(stored.dtype.newbyteorder(">")).tobytes()
    return encode_dataset(dataset, syntax)


def make_compressed_dicom(dataset: Dataset, frame: bytes, syntax: str) -> bytes:
    """The bytes of a DICOM file with the compressed `frame`, which may contradict the elements of `dataset`."""
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return encode_dataset(dataset, syntax)


def encode_rle(stored: NDArray[Any]) -> bytes:
    """`stored` in RLE (PS3.5 annex G): one segment for each byte of each sample, most significant byte first."""
    samples = stored.reshape(*stored.shape[:2], -1)
    segments = []
    for sample in range(samples.shape[2]):
        bytes_of_sample = np.ascontiguousarray(samples[:, :, sample]).view(np.uint8).reshape(*stored.shape[:2], -1)
        for position in reversed(range(bytes_of_sample.shape[2])):
            segment = b"".join(_pack_bits(row.tobytes()) for row in bytes_of_sample[:, :, position])
            segments.append(segment + b"\0" * (len(segment) % 2))
    starts = [64 + sum(map(len, segments[:number])) for number in range(len(segments))]
    header = np.array([len(segments), *starts, *[0] * (15 - len(starts))], "<u4")
    return header.tobytes() + b"".join(segments)


def _pack_bits(row: bytes) -> bytes:
    packed = b""
    for value, run in itertools.groupby(row):
        count = len(list(run))
        while count:
            part = min(count, 128)
            packed += bytes([0, value]) if part == 1 else bytes([257 - part, value])
            count -= part
    return packed


def make_lut_sequence(entries: list[int], *, first: int = 0, bits: int = 16, signed: bool = False) -> Sequence:
    """A sequence with one table, for ModalityLUTSequence or VOILUTSequence."""
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
