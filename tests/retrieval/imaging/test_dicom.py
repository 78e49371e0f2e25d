"""DICOM files: what is read, which files are refused, and what no message may say."""

from __future__ import annotations

import base64
import logging
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    HTJ2KLossless,
    JPEGExtended12Bit,
    JPEGLossless,
)

from ingest.thumbnails import write_thumbnail
from retrieval.errors import (
    BadPixelDescription,
    BurnedIn,
    ImageError,
    MissingExtra,
    MultiFrame,
    NoPixels,
    UnsupportedTransferSyntax,
    WrongType,
)
from retrieval.imaging.decode import decode_image
from retrieval.imaging.dicom import header as dicom_header
from tests.dicom_files import (
    BIRTH_DATE,
    JPEG_LOSSLESS,
    PATIENT,
    PATIENT_ID,
    encode_dataset,
    make_compressed_dicom,
    make_dataset,
    make_dicom,
)

STORED = np.arange(64 * 48, dtype=np.uint16).reshape(64, 48)
SHOWN = {"WindowCenter": "1500", "WindowWidth": "2000"}


def bare(data: bytes) -> bytes:
    """The file without its preamble."""
    return data[132:]


def dataset_alone(data: bytes) -> bytes:
    """The data set without preamble and meta information."""
    (length,) = struct.unpack("<I", data[140:144])
    return data[144 + length :]


@pytest.mark.parametrize("strip", [bare, dataset_alone])
def test_a_data_set_without_preamble_is_dicom(strip: Any) -> None:
    data = make_dicom(STORED)
    np.testing.assert_array_equal(decode_image(strip(data)), decode_image(data))


def test_an_executable_in_the_preamble_is_ignored() -> None:
    data = encode_dataset(make_dataset(STORED), preamble=(b"MZ\x90\0" + b"\x7fELF" * 31))
    assert decode_image(data).size == (48, 64)


def test_the_image_keeps_notes_and_no_metadata(tmp_path: Path) -> None:
    data = make_dicom(STORED, BurnedInAnnotation="YES")
    image = decode_image(data, allow_burned_in=True)
    assert image.info == {"notes": ("burned-in annotation allowed", "no window: percentiles 0.5 to 99.5")}
    assert b"percentiles" not in write_thumbnail(image, "1" * 64, tmp_path).read_bytes()
    assert decode_image(make_dicom(STORED, **SHOWN)).info == {}


def test_burned_in_annotations_are_refused_unless_allowed() -> None:
    with pytest.raises(BurnedIn, match=r"a\.dcm says"):
        decode_image(make_dicom(STORED, BurnedInAnnotation="YES"), name="a.dcm")
    assert decode_image(make_dicom(STORED, BurnedInAnnotation="NO")).size == (48, 64)


DESCRIPTIONS: dict[str, dict[str, Any]] = {
    "no bits allocated": {"BitsAllocated": None},
    "no rows": {"Rows": None},
    "zero rows": {"Rows": 0},
    "no columns": {"Columns": None},
    "zero columns": {"Columns": 0},
    "32 bits": {"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31},
    "12 bits in a row": {"BitsAllocated": 12, "BitsStored": 12, "HighBit": 11},
    "no photometric interpretation": {"PhotometricInterpretation": None},
    "unknown photometric interpretation": {"PhotometricInterpretation": "SEPIA"},
    "samples that grey has not": {"SamplesPerPixel": 3},
    "a thousand samples": {"SamplesPerPixel": 1000, "PhotometricInterpretation": "RGB"},
    "a palette without tables": {"PhotometricInterpretation": "PALETTE COLOR"},
}


@pytest.mark.parametrize("elements", DESCRIPTIONS.values(), ids=DESCRIPTIONS)
def test_a_missing_or_impossible_pixel_description_is_an_error(elements: dict[str, Any]) -> None:
    with pytest.raises(BadPixelDescription, match=r"a\.dcm"):
        decode_image(make_dicom(STORED, **elements), name="a.dcm")


@pytest.mark.parametrize("value", [b"1A", b"1.5 ", b"x y "])
def test_a_number_of_frames_that_is_no_number_is_an_error(value: bytes) -> None:
    data = make_dicom(STORED, NumberOfFrames=1).replace(
        b"\x28\0\x08\0IS\x02\x001 ", b"\x28\0\x08\0IS" + struct.pack("<H", len(value)) + value
    )
    with pytest.raises(BadPixelDescription, match="NumberOfFrames"):
        decode_image(data)


def test_a_modality_table_that_is_too_short_is_ignored() -> None:
    item = Dataset()
    item.add_new(0x00283002, "US", [4096, 0, 16])
    item.add_new(0x00283006, "US", [1, 2, 3])
    image = decode_image(make_dicom(STORED, ModalityLUTSequence=Sequence([item]), **SHOWN))
    assert image.info["notes"] == ("unusable Modality LUT ignored",)
    np.testing.assert_array_equal(image, decode_image(make_dicom(STORED, **SHOWN)))


def test_an_unusable_voi_lut_is_noted_and_the_window_is_used() -> None:
    item = Dataset()
    item.add_new(0x00283002, "US", [4096, 0, 16])
    data = make_dicom(STORED, VOILUTSequence=Sequence([item]), **SHOWN)
    image = decode_image(data)
    assert image.info["notes"] == ("unusable VOI LUT ignored",)
    np.testing.assert_array_equal(image, decode_image(make_dicom(STORED, **SHOWN)))


def test_an_object_without_pixels_is_an_error() -> None:
    with pytest.raises(NoPixels):
        decode_image(make_dicom())


def test_floating_point_pixels_are_not_supported() -> None:
    dataset = make_dataset(STORED, PixelData=None, FloatPixelData=STORED.astype(np.float32).tobytes())
    with pytest.raises(NoPixels):
        decode_image(encode_dataset(dataset))


def test_several_frames_are_refused() -> None:
    with pytest.raises(MultiFrame, match="4 frames"):
        decode_image(make_dicom(STORED, Rows=16, NumberOfFrames=4))


def test_other_elements_are_skipped_and_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_header, "LIMIT_HEADER_BYTES", 10_000)
    dataset = make_dataset(STORED)
    dataset.add_new(0x00091010, "OB", bytes(500_000))
    assert decode_image(encode_dataset(dataset)).size == (48, 64)


@pytest.mark.parametrize("syntax", [HTJ2KLossless, "1.2.840.10008.1.2.4.100", "1.2.3.4", "1.2.840.113619.5.2"])
def test_an_unsupported_transfer_syntax_is_an_error(syntax: str) -> None:
    with pytest.raises(UnsupportedTransferSyntax):
        decode_image(make_compressed_dicom(make_dataset(STORED), b"\xff\x4f\xff\x51" + bytes(60), syntax))


def test_jpeg_of_twelve_bits_is_unsupported() -> None:
    frame = b"\xff\xd8\xff\xc1\0\x0b\x0c" + struct.pack(">HH", 64, 48) + b"\1\0\x11\0" + bytes(50) + b"\xff\xd9"
    with pytest.raises(UnsupportedTransferSyntax, match="12 bits"):
        decode_image(make_compressed_dicom(make_dataset(STORED, BitsStored=12), frame, JPEGExtended12Bit))


def test_compressed_pixels_of_another_size_than_the_header_says_are_not_decoded() -> None:
    dataset = make_dataset(STORED)
    with pytest.raises(BadPixelDescription, match="16 x 12"):
        decode_image(make_compressed_dicom(dataset, base64.b64decode(JPEG_LOSSLESS), JPEGLossless))


def test_no_message_and_no_log_names_the_patient(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    data = make_dicom(STORED, Rows=65, PixelSpacing=["1", "2"], WindowCenter=["1", "2"], AccessionNumber=PATIENT_ID)
    rng = np.random.default_rng(11)
    said = []
    for _ in range(150):
        damaged = bytearray(data)
        for place in rng.integers(132, 900, 8):
            damaged[place] = rng.integers(256)
        try:
            decode_image(bytes(damaged), name="a.dcm")
        except ImageError as error:
            said.append(f"{error} {error.__cause__}")
    captured = capfd.readouterr()
    everything = " ".join([*said, caplog.text, captured.out, captured.err])
    assert said
    for secret in (PATIENT, PATIENT_ID, BIRTH_DATE):
        assert secret not in everything


def test_the_error_without_pydicom_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(MissingExtra, match=r"cxr-retrieval\[dicom\]"):
        decode_image(dicom_bytes)


def test_other_formats_do_not_load_pydicom() -> None:
    code = (
        "import sys; from retrieval.imaging import decode\n"
        "try: decode.decode_image(b'text')\n"
        "except Exception: pass\n"
        "sys.exit('pydicom' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=False).returncode == 0


def test_bytes_that_resemble_dicom_are_of_the_wrong_type() -> None:
    for data in (
        b"\x08\x00",
        b"\x08\x00\x05\x00hello world" * 20,
        bytes(128) + b"DICN" + bytes(50),
        b"\x02\x00\x00\x00" * 40,
    ):
        with pytest.raises(WrongType):
            decode_image(data)


dicom_bytes = make_dicom(STORED)
