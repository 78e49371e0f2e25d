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


# `gdcm_samples()` in base64, encoded by GDCM.
JPEG_LOSSLESS = (
    "/9j/wwALEAAMABABAREA/8QAGgABAQEAAwEAAAAAAAAAAAAACQwGAgQFEP/aAAgBAQABAAD5/n+f5/n+f5/n+h/X+f5/n+f5/ub/AD/P8/z/AD"
    "/P8/0P6/z/AD/P8/z/AHZf5/n+f5/n+f5/of1/n+f5/n+f7vv8/wA/z/P8/wA/0P6/z/P8/wA/z/P96r/P8/z/AD/P8/0P6/z/AD/P8/z/AD/e"
    "2/z/AD/P8/z/AD/Q/r/P8/z/AD/P8/2hf5/n+f5/n+f6H9f5/n+f5/n+f7Tv8/z/AD/P8/z/AEP6/wA/z/P8/wA/z/a1/n+f5/n+f5/of1/n+f"
    "5/n+f5/tm/z/P8/wA/z/P9D+v8/wA/z/P8/wA/25f5/n+f5/n+f6H9f5/n+f5/n+f7fv8AP8/z/P8AP8/0P6/z/P8AP8/z/P8Af//Z"
)
JPEG_LS = (
    "/9j/9wALEAAMABABAREA//gADQH//wASAEMBFABA/9oACAEBAAAAAL/f+/8f7/1/n/H94CCX7/2/r/T+f8sBoDQEgKAoBAIBAWAEAgICAgIDQS"
    "jIqKipEiRA+AJEaNGjQQg5SoUKFCdOAAHzf8nTpkyZDUTQqhRE0SSKQQpgBHo5GpiWlIVQ2npyamJaWhnAEpJUqVChDSIFq1YsWK0ewBWqVKlK"
    "lH0lXr1y5atSPALVixYsVpIlTFiwYECCowD777zzypV5QmTJkiStwBEiQIEH1ctCpQoTJkllgCRIiRIkFmuSxYqVKFFvgFCZMmSJLgD/2Q=="
)


def gdcm_samples() -> NDArray[np.uint16]:
    """The stored values of `JPEG_LOSSLESS` and `JPEG_LS`: 12 bits, [12, 16]."""
    return (np.add.outer(np.arange(12) ** 2, np.arange(16) * 170) * 3 % 4096).astype(np.uint16)
