"""Truncated, damaged and hostile DICOM files."""

from __future__ import annotations

import base64
import contextlib
from typing import Any

import numpy as np
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    RLELossless,
)

from retrieval.errors import (
    ImageBomb,
    ImageError,
    TruncatedImage,
    UnreadableImage,
)
from retrieval.imaging import decode
from retrieval.imaging.decode import decode_image
from retrieval.imaging.decoder_pool import decoders
from retrieval.imaging.dicom import header as dicom_header
from tests.dicom_files import (
    JPEG_LOSSLESS,
    gdcm_samples,
    make_compressed_dicom,
    make_dataset,
    make_dicom,
)
from tests.retrieval.imaging.test_dicom import STORED


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


def test_the_limit_on_pixels_holds_for_dicom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "LIMIT_PIXELS", 100)
    with pytest.raises(ImageBomb, match="48 x 64"):
        decode_image(make_dicom(STORED))
