"""Pixels of DICOM files equal the formulas of the standard, computed pixel by pixel in plain Python.

Over 350 lines: one table of cases for one decoder, with the slow reference beside it.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLSLossless,
    RLELossless,
)

from retrieval.imaging.decode import decode_image
from tests.dicom_files import (
    SYNTAXES,
    encode_dataset,
    make_compressed_dicom,
    make_dataset,
    make_dicom,
    make_lut_sequence,
)

Curve = Callable[[float], float]


def shown(data: bytes) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    image = decode_image(data)
    return np.asarray(image), image.info.get("notes", ())


def reference(stored: NDArray[Any], modality: Curve, share: Curve, *, inverted: bool = False) -> NDArray[np.uint8]:
    """PS3.3 C.11.1, C.11.2 and C.7.6.3.1.2, then 8 bits, value by value."""
    rows = []
    for row in stored.tolist():
        bright = [share(modality(float(value))) for value in row]
        rows.append([round(255.0 * (1.0 - value if inverted else value)) for value in bright])
    return np.array(rows, dtype=np.uint8)


def same(value: float) -> float:
    return value


def rescale(slope: float, intercept: float) -> Curve:
    return lambda value: value * slope + intercept


def table(entries: list[int], first: int) -> Curve:
    return lambda value: float(entries[min(max(round(value) - first, 0), len(entries) - 1)])


def voi_table(entries: list[int], first: int, bits: int) -> Curve:
    return lambda value: table(entries, first)(value) / (2**bits - 1)


def linear(centre: float, width: float) -> Curve:
    """PS3.3 C.11.2.1.2.1."""

    def share(x: float) -> float:
        if x <= centre - 0.5 - (width - 1) / 2:
            return 0.0
        if x > centre - 0.5 + (width - 1) / 2:
            return 1.0
        return (x - (centre - 0.5)) / (width - 1) + 0.5

    return share


def linear_exact(centre: float, width: float) -> Curve:
    """PS3.3 C.11.2.1.3.2."""

    def share(x: float) -> float:
        if x <= centre - width / 2:
            return 0.0
        return 1.0 if x > centre + width / 2 else (x - centre) / width + 0.5

    return share


def sigmoid(centre: float, width: float) -> Curve:
    """PS3.3 C.11.2.1.3.1."""
    return lambda x: 1.0 / (1.0 + math.exp(-4.0 * (x - centre) / width))


def percentiles(values: NDArray[Any]) -> Curve:
    """Black is the least value that .5 % of the pixels do not exceed; white is that for 99.5 %."""
    ranked = sorted(float(value) for value in values.reshape(-1))
    low, high = (ranked[max(0, math.ceil(share * len(ranked)) - 1)] for share in (0.005, 0.995))
    return lambda x: 0.0 if x <= low else 1.0 if x > high else (x - (low + high) / 2.0) / (high - low) + 0.5


def ramp(low: int, high: int, dtype: Any = np.uint16, shape: tuple[int, int] = (24, 30)) -> NDArray[Any]:
    """Values from `low` to `high`, shuffled so that rows and columns differ."""
    values = np.linspace(low, high, shape[0] * shape[1]).round().astype(dtype)
    shuffled: NDArray[Any] = np.random.default_rng(7).permutation(values).reshape(shape)
    return shuffled


TWELVE = ramp(0, 4095)
SIGNED = ramp(-2048, 2047, np.int16)
WINDOW = {"WindowCenter": "2000", "WindowWidth": "1000", "BitsStored": 12}


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_monochrome_1_is_inverted_once_in_every_transfer_syntax(photometric: str, syntax: str) -> None:
    pixels, notes = shown(make_dicom(TWELVE, syntax=syntax, PhotometricInterpretation=photometric, **WINDOW))
    expected = reference(TWELVE, same, linear(2000, 1000), inverted=photometric == "MONOCHROME1")
    np.testing.assert_array_equal(pixels, expected)
    assert notes == ()


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("shape", ["IDENTITY", "INVERSE"])
def test_the_presentation_shape_does_not_invert_again(photometric: str, shape: str) -> None:
    pixels, notes = shown(
        make_dicom(TWELVE, PhotometricInterpretation=photometric, PresentationLUTShape=shape, **WINDOW)
    )
    expected = reference(TWELVE, same, linear(2000, 1000), inverted=photometric == "MONOCHROME1")
    np.testing.assert_array_equal(pixels, expected)
    assert bool(notes) == (photometric == "MONOCHROME2" and shape == "INVERSE")


@pytest.mark.parametrize(("slope", "intercept"), [("1", "-1024"), ("2.5", "10.25"), ("-1", "4095"), ("-0.5", "0")])
@pytest.mark.parametrize("inverted", [False, True])
def test_the_window_applies_to_rescaled_values_whatever_the_sign_of_the_slope(
    slope: str, intercept: str, inverted: bool
) -> None:
    centre, width = float(slope) * 2000 + float(intercept), abs(float(slope)) * 3000
    data = make_dicom(
        TWELVE,
        PhotometricInterpretation="MONOCHROME1" if inverted else "MONOCHROME2",
        BitsStored=12,
        RescaleSlope=slope,
        RescaleIntercept=intercept,
        WindowCenter=str(centre),
        WindowWidth=str(width),
    )
    expected = reference(TWELVE, rescale(float(slope), float(intercept)), linear(centre, width), inverted=inverted)
    np.testing.assert_array_equal(shown(data)[0], expected)


def test_a_negative_slope_makes_the_largest_stored_value_the_darkest() -> None:
    data = make_dicom(
        TWELVE, BitsStored=12, RescaleSlope="-1", RescaleIntercept="4095", WindowCenter="2048", WindowWidth="4096"
    )
    pixels, _ = shown(data)
    assert pixels[TWELVE == 4095].max() == 0
    assert pixels[TWELVE == 0].min() == 255


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("first", [0, 300])
def test_a_modality_table_replaces_the_slope(first: int, syntax: str) -> None:
    entries = [60000 - 17 * n for n in range(3000)]
    data = make_dicom(
        TWELVE,
        syntax=syntax,
        BitsStored=12,
        ModalityLUTSequence=make_lut_sequence(entries, first=first),
        RescaleSlope="7",
        RescaleIntercept="7",
        WindowCenter="40000",
        WindowWidth="50000",
    )
    np.testing.assert_array_equal(shown(data)[0], reference(TWELVE, table(entries, first), linear(40000, 50000)))


def test_a_modality_table_may_begin_below_zero() -> None:
    entries = [n * 16 for n in range(4096)]
    data = make_dicom(
        SIGNED,
        BitsStored=12,
        ModalityLUTSequence=make_lut_sequence(entries, first=-2048, signed=True),
        WindowCenter="30000",
        WindowWidth="60000",
    )
    np.testing.assert_array_equal(shown(data)[0], reference(SIGNED, table(entries, -2048), linear(30000, 60000)))


@pytest.mark.parametrize(
    ("function", "curve"), [(None, linear), ("LINEAR", linear), ("LINEAR_EXACT", linear_exact), ("SIGMOID", sigmoid)]
)
@pytest.mark.parametrize("inverted", [False, True])
def test_every_window_function_is_that_of_the_standard(
    function: str | None, curve: Callable[[float, float], Curve], inverted: bool
) -> None:
    data = make_dicom(
        TWELVE,
        VOILUTFunction=function,
        PhotometricInterpretation="MONOCHROME1" if inverted else "MONOCHROME2",
        **{**WINDOW, "WindowCenter": "1800.5", "WindowWidth": "900.25"},
    )
    np.testing.assert_array_equal(shown(data)[0], reference(TWELVE, same, curve(1800.5, 900.25), inverted=inverted))


def test_a_window_of_width_one_is_a_threshold() -> None:
    pixels, _ = shown(make_dicom(TWELVE, **{**WINDOW, "WindowWidth": "1"}))
    np.testing.assert_array_equal(pixels, np.where(TWELVE > 1999.5, 255, 0))


def test_of_several_windows_the_first_is_used() -> None:
    data = make_dicom(TWELVE, BitsStored=12, WindowCenter=["2000", "500", "9"], WindowWidth=["1000", "20", "9"])
    pixels, notes = shown(data)
    np.testing.assert_array_equal(pixels, reference(TWELVE, same, linear(2000, 1000)))
    assert notes == ("the first of 3 windows",)


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_a_voi_table_comes_before_a_window_and_is_scaled_by_its_bits(bits: int) -> None:
    entries = [round((n / 2999) ** 0.5 * (2**bits - 1)) for n in range(3000)]
    data = make_dicom(TWELVE, VOILUTSequence=make_lut_sequence(entries, first=500, bits=bits), **WINDOW)
    np.testing.assert_array_equal(shown(data)[0], reference(TWELVE, same, voi_table(entries, 500, bits)))


@pytest.mark.parametrize("signed", [True, False], ids=["SS", "US"])
def test_a_voi_table_over_negative_values_starts_below_zero_whatever_type_its_start_was_written_with(
    signed: bool,
) -> None:
    entries = [n % 4096 for n in range(4096)]
    data = make_dicom(
        TWELVE,
        BitsStored=12,
        RescaleSlope="1",
        RescaleIntercept="-1024",
        VOILUTSequence=make_lut_sequence(entries, first=-1024 if signed else 65536 - 1024, bits=12, signed=signed),
    )
    expected = reference(TWELVE, rescale(1, -1024), voi_table(entries, -1024, 12))
    np.testing.assert_array_equal(shown(data)[0], expected)


def test_a_voi_table_of_bytes_packed_in_pairs_is_unpacked() -> None:
    entries = [n // 16 for n in range(4096)]
    item = Dataset()
    item.add_new(0x00283002, "US", [4096, 0, 8])
    item.add_new(0x00283006, "OW", bytes(entries))
    data = make_dicom(TWELVE, BitsStored=12, VOILUTSequence=Sequence([item]))
    np.testing.assert_array_equal(shown(data)[0], reference(TWELVE, same, voi_table(entries, 0, 8)))


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("slope", ["1", "-3"])
def test_without_a_window_percentiles_of_the_modality_values_are_used_and_noted(slope: str, inverted: bool) -> None:
    stored = (np.random.default_rng(3).gamma(2.0, 300.0, (40, 50)).round().clip(0, 4095)).astype(np.uint16)
    data = make_dicom(
        stored,
        BitsStored=12,
        PhotometricInterpretation="MONOCHROME1" if inverted else "MONOCHROME2",
        RescaleSlope=slope,
        RescaleIntercept="5",
    )
    pixels, notes = shown(data)
    modality = rescale(float(slope), 5)
    expected = reference(stored, modality, percentiles(stored * float(slope) + 5), inverted=inverted)
    np.testing.assert_array_equal(pixels, expected)
    assert notes == ("no window: percentiles 0.5 to 99.5",)


@pytest.mark.parametrize("window", [("0", "0"), ("100", "-5"), ("100", None), ("nan", "5")])
def test_a_window_that_the_standard_does_not_allow_is_ignored(window: tuple[str, str | None]) -> None:
    dataset = make_dataset(TWELVE, BitsStored=12)
    for tag, value in zip((0x00281050, 0x00281051), window, strict=True):
        if value is not None:
            dataset.add_new(tag, "LO", value)  # pydicom would not write these as decimal strings
    pixels, notes = shown(encode_dataset(dataset))
    np.testing.assert_array_equal(pixels, reference(TWELVE, same, percentiles(TWELVE)))
    assert notes == ("unusable window ignored", "no window: percentiles 0.5 to 99.5")


@pytest.mark.parametrize("limit", [None, 4000])
def test_percentiles_ignore_padding(limit: int | None) -> None:
    stored = ramp(100, 1100)
    stored[:12] = 4095 if limit is None else np.arange(12 * 30).reshape(12, 30) % 96 + 4000
    image = stored[12:]
    data = make_dicom(stored, BitsStored=12, PixelPaddingValue=4095, PixelPaddingRangeLimit=limit)
    np.testing.assert_array_equal(shown(data)[0], reference(stored, same, percentiles(image)))


def test_percentiles_ignore_signed_padding_that_was_written_as_unsigned() -> None:
    stored = ramp(100, 1100, np.int16)
    stored[:12] = -2000
    dataset = make_dataset(stored)
    dataset.add_new(0x00280120, "US", 65536 - 2000)
    np.testing.assert_array_equal(shown(encode_dataset(dataset))[0], reference(stored, same, percentiles(stored[12:])))


def test_an_image_of_only_padding_is_decoded() -> None:
    stored = ramp(4000, 4095)
    pixels, _ = shown(make_dicom(stored, BitsStored=12, PixelPaddingValue=4095, PixelPaddingRangeLimit=4000))
    np.testing.assert_array_equal(pixels, reference(stored, same, percentiles(stored)))


CONTAINERS = [
    (ramp(0, 255, np.uint8), {}, ("128", "256")),
    (ramp(-128, 127, np.int8), {}, ("0", "256")),
    (ramp(0, 63, np.uint8), {"BitsStored": 6}, ("32", "64")),
    (ramp(0, 1023), {"BitsStored": 10}, ("512", "700")),
    (TWELVE, {"BitsStored": 12}, ("2000", "1000")),
    (SIGNED, {"BitsStored": 12}, ("0", "3000")),
    (ramp(0, 65535), {}, ("30000", "60000")),
    (ramp(-32768, 32767, np.int16), {}, ("0", "60000")),
]


@pytest.mark.parametrize(("stored", "elements", "window"), CONTAINERS)
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless])
def test_every_width_and_sign_of_stored_values(
    stored: NDArray[Any], elements: dict[str, Any], window: tuple[str, str], syntax: str
) -> None:
    data = make_dicom(stored, syntax=syntax, WindowCenter=window[0], WindowWidth=window[1], **elements)
    expected = reference(stored, same, linear(float(window[0]), float(window[1])))
    np.testing.assert_array_equal(shown(data)[0], expected)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("high_bit", [11, 13, 15])
def test_only_the_stored_bits_below_the_high_bit_belong_to_a_value(high_bit: int, signed: bool) -> None:
    stored = SIGNED if signed else TWELVE
    shift = high_bit - 11
    noise = np.random.default_rng(1).integers(0, 65536, stored.shape, dtype=np.uint16)
    mask = np.uint16(0x0FFF << shift & 0xFFFF)
    words = (stored.view(np.uint16) << np.uint16(shift)) & mask | noise & ~mask
    data = make_dicom(
        words.view(np.int16) if signed else words,
        BitsStored=12,
        HighBit=high_bit,
        WindowCenter="500",
        WindowWidth="2500",
    )
    np.testing.assert_array_equal(shown(data)[0], reference(stored, same, linear(500, 2500)))


def test_all_65536_values_together_give_the_same_as_each_alone() -> None:
    stored = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    data = make_dicom(
        stored, WindowCenter="30000.5", WindowWidth="51234.5", RescaleSlope="1.003", RescaleIntercept="-77"
    )
    expected = reference(stored, rescale(1.003, -77), linear(30000.5, 51234.5))
    np.testing.assert_array_equal(shown(data)[0], expected)


# `encoded_by_gdcm`, encoded by GDCM.
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


def encoded_by_gdcm() -> NDArray[np.uint16]:
    return (np.add.outer(np.arange(12) ** 2, np.arange(16) * 170) * 3 % 4096).astype(np.uint16)


@pytest.mark.parametrize(("syntax", "frame"), [(JPEGLossless, JPEG_LOSSLESS), (JPEGLSLossless, JPEG_LS)])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_lossless_jpeg_of_sixteen_bits(syntax: str, frame: str, photometric: str) -> None:
    stored = encoded_by_gdcm()
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
    import io

    from PIL import Image

    buffer = io.BytesIO()
    smooth = np.add.outer(np.arange(40), np.arange(56)).astype(np.uint8) * 2
    Image.fromarray(smooth).save(buffer, "JPEG", quality=95)
    dataset = make_dataset(smooth, WindowCenter="128", WindowWidth="256")
    pixels, _ = shown(make_compressed_dicom(dataset, buffer.getvalue(), JPEGBaseline8Bit))
    decoded = np.asarray(Image.open(io.BytesIO(buffer.getvalue())))
    np.testing.assert_array_equal(pixels, reference(decoded, same, linear(128, 256)))
