"""Compressed and colour DICOM files are decoded exactly, in every accepted transfer syntax."""

from __future__ import annotations

import base64
import io
import math
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import (
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLSLossless,
    RLELossless,
)

from tests.dicom_files import (
    JPEG_LOSSLESS,
    JPEG_LS,
    encode_dataset,
    gdcm_samples,
    make_compressed_dicom,
    make_dataset,
    make_dicom,
)
from tests.parity.dicom_formulas import SIGNED, WINDOW, linear, ramp, reference, same, shown


@pytest.mark.parametrize(("syntax", "frame"), [(JPEGLossless, JPEG_LOSSLESS), (JPEGLSLossless, JPEG_LS)])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_lossless_jpeg_of_sixteen_bits(syntax: str, frame: str, photometric: str) -> None:
    stored = gdcm_samples()
    dataset = make_dataset(stored, PhotometricInterpretation=photometric, **WINDOW)
    pixels, _ = shown(make_compressed_dicom(dataset, base64.b64decode(frame), syntax))
    expected = reference(stored, same, linear(2000, 1000), inverted=photometric == "MONOCHROME1")
    np.testing.assert_array_equal(pixels, expected)


def test_jpeg_2000_of_signed_values_keeps_their_sign() -> None:
    # Pillow cannot encode signed values. The codestream stores them as unsigned, as some real files do.
    dataset = make_dataset(SIGNED, BitsStored=16, HighBit=15, WindowCenter="0", WindowWidth="3000")
    unsigned = make_dicom(SIGNED.view(np.uint16), syntax=JPEG2000Lossless)
    start = unsigned.index(b"\xff\x4f\xff\x51")
    frame = unsigned[start : unsigned.rindex(b"\xff\xd9") + 2]
    pixels, _ = shown(make_compressed_dicom(dataset, frame, JPEG2000Lossless))
    np.testing.assert_array_equal(pixels, reference(SIGNED, same, linear(0, 3000)))


def test_runs_that_continue_in_the_next_row_are_decoded() -> None:
    stored = np.zeros((8, 100), np.uint8)
    stored[4:] = 200
    run = bytes([257 - 100, 0]) * 4 + bytes([257 - 128, 200]) * 3 + bytes([257 - 16, 200])
    frame = np.array([1, 64, *[0] * 14], "<u4").tobytes() + run
    dataset = make_dataset(stored, WindowCenter="128", WindowWidth="256")
    pixels, _ = shown(make_compressed_dicom(dataset, frame, RLELossless))
    np.testing.assert_array_equal(pixels, reference(stored, same, linear(128, 256)))


COLOUR = np.random.default_rng(5).integers(0, 256, (9, 11, 3), dtype=np.uint8)


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_colour_is_shown_as_it_is_by_pixel_and_by_plane(planar: int, syntax: str) -> None:
    dataset = make_dataset(COLOUR, PlanarConfiguration=planar)
    stored = COLOUR.transpose(2, 0, 1) if planar else COLOUR
    dataset.PixelData = stored.tobytes() + b"\0"
    np.testing.assert_array_equal(shown(encode_dataset(dataset, syntax))[0], COLOUR)


def test_run_length_colour_is_shown_as_it_is() -> None:
    np.testing.assert_array_equal(shown(make_dicom(COLOUR, syntax=RLELossless))[0], COLOUR)


def test_sixteen_bit_colour_is_scaled_by_its_bits() -> None:
    stored = (COLOUR.astype(np.uint16) * 16).clip(0, 4095)
    expected = np.array([round(value * (255.0 / 4095)) for value in stored.reshape(-1).tolist()]).reshape(stored.shape)
    np.testing.assert_array_equal(shown(make_dicom(stored, BitsStored=12))[0], expected)


def test_luminance_and_chrominance_become_red_green_and_blue() -> None:
    def rgb(y: int, cb: int, cr: int) -> list[int]:  # ITU T.871 section 7
        exact = (y + 1.402 * (cr - 128), y - 0.344136 * (cb - 128) - 0.714136 * (cr - 128), y + 1.772 * (cb - 128))
        return [min(255, max(0, math.floor(value + 0.5))) for value in exact]

    pixels, _ = shown(make_dicom(COLOUR, PhotometricInterpretation="YBR_FULL"))
    expected = [[rgb(*pixel) for pixel in row] for row in COLOUR.tolist()]
    np.testing.assert_array_equal(pixels, expected)


def test_a_palette_gives_its_colours() -> None:
    stored = ramp(0, 255, np.uint8)
    curves = {"Red": lambda n: n * 257, "Green": lambda n: 65535 - n * 257, "Blue": lambda n: (n * 7 % 256) * 257}
    elements: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for colour, curve in curves.items():
        elements[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        table_data = np.array([curve(n) for n in range(256)], "<u2")
        elements[f"{colour}PaletteColorLookupTableData"] = table_data.tobytes()
    pixels, _ = shown(make_dicom(stored, **elements))
    expected = [[[curve(value) // 257 for curve in curves.values()] for value in row] for row in stored.tolist()]
    np.testing.assert_array_equal(pixels, expected)


def test_lossy_grey_jpeg_is_what_pillow_decodes() -> None:
    buffer = io.BytesIO()
    smooth = np.add.outer(np.arange(40), np.arange(56)).astype(np.uint8) * 2
    Image.fromarray(smooth).save(buffer, "JPEG", quality=95)
    dataset = make_dataset(smooth, WindowCenter="128", WindowWidth="256")
    pixels, _ = shown(make_compressed_dicom(dataset, buffer.getvalue(), JPEGBaseline8Bit))
    decoded = np.asarray(Image.open(io.BytesIO(buffer.getvalue())))
    np.testing.assert_array_equal(pixels, reference(decoded, same, linear(128, 256)))
