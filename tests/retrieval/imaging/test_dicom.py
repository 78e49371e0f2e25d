"""DICOM files: what is read of them, which are refused, and what no message may say."""

from __future__ import annotations

import base64
import contextlib
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
    DeflatedExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    RLELossless,
)

from ingest.thumbnails import write_thumbnail
from retrieval.errors import (
    BadPixelDescription,
    BurnedIn,
    ImageBomb,
    ImageError,
    MissingExtra,
    MultiFrame,
    NoPixels,
    TruncatedImage,
    UnreadableImage,
    UnsupportedTransferSyntax,
    WrongType,
)
from retrieval.imaging import decode
from retrieval.imaging.decode import decode_image
from retrieval.imaging.decoder_pool import decoders
from retrieval.imaging.dicom import header as dicom_header
from tests.dicom_files import (
    BIRTH_DATE,
    JPEG_LOSSLESS,
    PATIENT,
    PATIENT_ID,
    encode_dataset,
    gdcm_samples,
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


@pytest.mark.parametrize("cut", [0.3, 0.97, 0.999])
@pytest.mark.parametrize(
    "syntax", ["1.2.840.10008.1.2.1", RLELossless, JPEG2000Lossless, DeflatedExplicitVRLittleEndian]
)
def test_a_file_cut_short_is_truncated(syntax: str, cut: float) -> None:
    noise = np.random.default_rng(0).integers(0, 65536, (64, 48), dtype=np.uint16)
    data = make_dicom(noise, syntax=syntax)
    with pytest.raises(TruncatedImage):
        decode_image(data[: int(len(data) * cut) - 20])


def test_a_file_cut_within_its_header_is_truncated() -> None:
    data = make_dicom(STORED)
    with pytest.raises(TruncatedImage, match="header"):
        decode_image(data[: data.index(b"\x28\0\x10\0") + 9])


def test_fewer_pixels_than_announced_are_truncated() -> None:
    with pytest.raises(TruncatedImage, match="6,144 bytes of pixels"):
        decode_image(make_dicom(STORED, Rows=65))


def test_more_pixels_than_announced_are_padding() -> None:
    np.testing.assert_array_equal(
        decode_image(make_dicom(STORED, Rows=32, WindowCenter="99", WindowWidth="50")).size, (48, 32)
    )


def test_several_frames_are_refused() -> None:
    with pytest.raises(MultiFrame, match="4 frames"):
        decode_image(make_dicom(STORED, Rows=16, NumberOfFrames=4))


@pytest.mark.parametrize("elements", [{"Rows": 65535, "Columns": 65535}, {"NumberOfFrames": 2_000_000_000}])
def test_pixels_are_counted_before_they_are_decoded(elements: dict[str, Any]) -> None:
    with pytest.raises(ImageBomb, match="64,000,000"):
        decode_image(make_dicom(STORED, **elements))


def test_a_deflated_file_inflates_within_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_header, "LIMIT_INFLATED_BYTES", 1_000_000)
    data = make_dicom(np.zeros((1000, 1000), np.uint16), syntax=DeflatedExplicitVRLittleEndian)
    assert len(data) < 10_000
    with pytest.raises(ImageBomb, match="inflates"):
        decode_image(data)


def test_a_header_of_a_million_elements_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_header, "LIMIT_HEADER_BYTES", 100_000)
    items = b"\xfe\xff\x00\xe0\0\0\0\0" * 50_000
    sequence = b"\x40\x00\x30\xa7SQ\0\0\xff\xff\xff\xff" + items + b"\xfe\xff\xdd\xe0\0\0\0\0"
    data = make_dicom(STORED)
    place = data.index(b"\x28\0\x02\0")
    with pytest.raises(UnreadableImage, match="header is longer than"):
        decode_image(data[:place] + sequence + data[place:])


def test_other_elements_are_skipped_and_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_header, "LIMIT_HEADER_BYTES", 10_000)
    dataset = make_dataset(STORED)
    dataset.add_new(0x00091010, "OB", bytes(500_000))
    assert decode_image(encode_dataset(dataset)).size == (48, 64)


def test_an_element_longer_than_the_file_allocates_nothing() -> None:
    data = make_dicom(STORED)
    place = data.index(b"\x28\0\x02\0")
    lie = b"\x28\0\x00\x30SQ\0\0\xf0\xff\xff\xff"
    with pytest.raises(ImageError):
        decode_image(data[:place] + lie + data[place:])


def test_deeply_nested_sequences_are_an_error() -> None:
    nested = b"\x28\0\x00\x30SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 5000
    data = make_dicom(STORED)
    place = data.index(b"\x28\0\x02\0")
    with pytest.raises(ImageError):
        decode_image(data[:place] + nested + data[place:])


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


@pytest.mark.parametrize("frame", [b"\0\0", b"hello, no codestream here", b"\xff\xd8\xff", bytes(100)])
@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGLossless, JPEG2000Lossless, RLELossless])
def test_invalid_compressed_pixels_are_an_error(syntax: str, frame: bytes) -> None:
    with pytest.raises(ImageError):
        decode_image(make_compressed_dicom(make_dataset(STORED), frame, syntax))


def test_rle_data_never_unfold_beyond_the_image() -> None:
    segment = bytes([0, 9]) + bytes([257 - 128, 0]) * 500_000  # 64 MB
    frame = np.array([1, 64, *[0] * 14], "<u4").tobytes() + segment
    image = decode_image(make_compressed_dicom(make_dataset(np.zeros((8, 8), np.uint8)), frame, RLELossless))
    assert image.size == (8, 8)


def test_a_crashing_decoder_does_not_affect_the_next_image() -> None:
    good = base64.b64decode(JPEG_LOSSLESS)
    dataset = make_dataset(gdcm_samples(), WindowCenter="99", WindowWidth="50")
    expected = np.asarray(decode_image(make_compressed_dicom(dataset, good, JPEGLossless)))
    bad = bytearray(good)
    bad[25:60] = bytes([0xFF]) * 35  # ends the process that decodes it, with some versions of GDCM
    for _ in range(2):
        with pytest.raises(UnreadableImage, match=r"a\.dcm"):
            decoders.decode(make_compressed_dicom(dataset, bytes(bad), JPEGLossless), name="a.dcm")
        np.testing.assert_array_equal(decoders.decode(make_compressed_dicom(dataset, good, JPEGLossless)), expected)


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


@pytest.mark.parametrize("seed", range(4))
def test_damaged_files_give_an_image_or_an_image_error(seed: int) -> None:
    rng = np.random.default_rng(seed)
    small = STORED[:16, :16].copy()
    for data in (make_dicom(small), make_dicom(small, syntax=RLELossless), make_dicom(small, syntax=JPEG2000Lossless)):
        for _ in range(60):
            damaged = bytearray(data)
            for place in rng.integers(128, len(data), rng.integers(1, 12)):
                damaged[place] = rng.integers(256)
            with contextlib.suppress(ImageError):
                decode_image(bytes(damaged))


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


def test_the_limit_on_pixels_holds_for_dicom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "LIMIT_PIXELS", 100)
    with pytest.raises(ImageBomb, match="48 x 64"):
        decode_image(make_dicom(STORED))
