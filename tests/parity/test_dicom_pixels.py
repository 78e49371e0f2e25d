"""Grey values of DICOM files equal the formulas of the standard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless

from tests.dicom_files import SYNTAXES, encode_dataset, make_dataset, make_dicom, make_lut_sequence
from tests.parity.dicom_formulas import (
    SIGNED,
    TWELVE,
    WINDOW,
    Curve,
    linear,
    linear_exact,
    percentiles,
    ramp,
    reference,
    rescale,
    same,
    shown,
    sigmoid,
    table,
    voi_table,
)


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
