"""One film in every pixel form: it is decoded to the same image, and header values that contradict it are noted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.image_forms import CONTRADICTIONS, FORMS, PICTURES, SOUND, dicom, encoded, png16, table, twelve, window
from retrieval.errors import NoContrast
from retrieval.imaging.decode import decode_image

SIDE = 96


def film(low: int = 3, high: int = 250, side: int = SIDE) -> NDArray[np.uint8]:
    """A round, smooth drawing with dark and bright parts and a little noise."""
    y, x = np.mgrid[0:side, 0:side] / side
    shape = 0.5 + 0.5 * np.sin(7 * x + 2 * np.sin(5 * y)) * np.cos(4 * y)
    shape += np.random.default_rng(1).normal(0, 0.01, shape.shape)
    shape = (shape - shape.min()) / (shape.max() - shape.min())
    return np.rint(low + shape * (high - low)).astype(np.uint8)


FILM = film()


def shown(data: bytes) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    image = decode_image(data)
    return np.asarray(image.convert("L")), image.info.get("notes", ())


def assert_like_film(pixels: NDArray[np.uint8]) -> None:
    assert np.corrcoef(pixels.ravel(), FILM.ravel())[0, 1] > 0.99
    assert float(np.abs(pixels.astype(float) - FILM).mean()) < 6
    low, high = np.percentile(pixels, (0.5, 99.5))
    assert high - low > 200


@pytest.mark.parametrize("name", FORMS)
def test_every_form_is_decoded_to_the_same_film(name: str) -> None:
    assert_like_film(shown(FORMS[name](FILM))[0])


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_every_contradiction_is_noted(name: str) -> None:
    assert shown(CONTRADICTIONS[name](FILM))[1]


@pytest.mark.parametrize("name", SOUND)
def test_correct_files_have_no_notes(name: str) -> None:
    expected = ("no window: percentiles 0.5 to 99.5",) if name == "no window" else ()
    assert shown(SOUND[name](FILM))[1] == expected


NOTES = {
    "PNG, 8 bits": (),
    "PNG, 16 bits, all used": (),
    "PNG, 16 bits, 12 used": ("16 bits, of which 12 are used",),
    "PNG, 16 bits, 4,200 to 18,500": ("16 bits, of which a part is used: percentiles 0.5 to 99.5",),
    "PNG, 12 bits by sBIT": ("16 bits, of which 12 are significant",),
    "PNG, 12 bits by sBIT, scaled": (),
    "PNG, RGB of 16 bits, 12 used": ("16 bits, of which 12 are used",),
    "PNG, alpha 0": ("alpha channel the same everywhere: ignored",),
    "PNG, alpha 0 but for a corner": ("alpha channel hides the image: ignored",),
    "PNG, film in the alpha of white": (),
    "PNG, negative in the alpha of black": ("image in the alpha channel: shown on white",),
}


@pytest.mark.parametrize("name", NOTES)
def test_pictures_have_notes_on_their_conversion(name: str) -> None:
    assert shown(PICTURES[name](FILM))[1] == NOTES[name]


@pytest.mark.parametrize(
    ("header", "note"),
    [
        ({"VOILUTSequence": table(np.arange(4096), 16)}, "VOI LUT descriptor contradicts its entries"),
        ({"VOILUTSequence": table(np.arange(4096) + 61440, 16)}, "VOI LUT without contrast"),
        (
            {"VOILUTSequence": table(np.full(4096, 5), 16), **window(2048, 4096)},
            "VOI LUT without contrast: window used",
        ),
        (window(32768, 65536), "window without contrast"),
        ({"RescaleSlope": "0", "RescaleIntercept": "7"}, "unusable rescale ignored"),
        ({"HighBit": 15}, "HighBit contradicts the pixels"),
        ({"BitsStored": 10, "HighBit": 9}, "BitsStored contradicts the pixels"),
        ({"BitsStored": 17, "HighBit": 16}, "BitsStored is missing or impossible"),
        ({"PixelRepresentation": 1}, "PixelRepresentation contradicts the pixels"),
    ],
)
def test_a_note_names_what_contradicted_the_pixels(header: dict[str, Any], note: str) -> None:
    pixels, notes = shown(dicom(twelve(FILM), **header))
    assert any(found.startswith(note) for found in notes), notes
    assert_like_film(pixels)


@pytest.mark.parametrize(
    "data",
    [
        encoded(np.full((9, 9), 7, np.uint8)),
        encoded(np.full((9, 9, 3), (7, 99, 200), np.uint8)),
        encoded(np.full((9, 9), 200, np.uint8), "JPEG"),
        png16(np.full((9, 9), 1234)),
        png16(np.zeros((9, 9))),
        png16(np.full((9, 9, 3), 70)),
        encoded(np.full((9, 9, 4), (9, 9, 9, 0), np.uint8)),
        dicom(np.full((9, 9), 1234, np.uint16)),
        dicom(np.full((9, 9), 1234, np.uint16), **window(1000, 500)),
        dicom(np.where(np.eye(9), 4095, 1234).astype(np.uint16), PixelPaddingValue=4095),
    ],
)
def test_an_image_of_one_value_is_refused_by_code(data: bytes) -> None:
    with pytest.raises(NoContrast, match=r"a\.img shows nothing") as caught:
        decode_image(data, name="a.img")
    assert caught.value.code == "no_contrast"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 65535), st.integers(0, 65535))
@example(0, 1)
@example(65534, 65535)
@example(4200, 18500)
def test_any_range_of_sixteen_bits_keeps_contrast_and_order(one: int, other: int) -> None:
    low, high = min(one, other), max(one, other)
    if low == high:
        return
    values = np.linspace(low, high, 64 * 64).round().astype(np.uint16).reshape(64, 64)
    for data in (png16(values), dicom(values, BitsStored=16, HighBit=15)):
        assert_kept(values, shown(data)[0])


def assert_kept(values: NDArray[Any], pixels: NDArray[np.uint8], *, inverted: bool = False) -> None:
    low, high = np.percentile(pixels, (0.5, 99.5))
    assert high - low >= 128
    by_value = pixels.ravel()[np.argsort(values.ravel(), kind="stable")].astype(int)
    assert (np.diff(by_value) <= 0 if inverted else np.diff(by_value) >= 0).all()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_table_keeps_contrast_and_order_with_any_descriptor(data: st.DataObject) -> None:
    bits = data.draw(st.integers(8, 16), "bits stored")
    count = data.draw(st.integers(1 << (bits - 1), 1 << bits), "entries")
    top = data.draw(st.integers(255, 65535), "highest entry")
    bottom = data.draw(st.integers(0, top - 200), "lowest entry")
    said_bits = data.draw(st.integers(0, 16), "bits said")
    said_count = data.draw(st.sampled_from([count, count // 2, count - 1, min(count * 4 // 3, 65536)]), "entries said")
    inverted = data.draw(st.booleans(), "MONOCHROME1")
    values = np.linspace(0, (1 << bits) - 1, 64 * 64).round().astype(np.uint16).reshape(64, 64)
    entries = np.linspace(bottom, top, count).round().astype(np.uint16)
    header = {"BitsStored": bits, "HighBit": bits - 1, "VOILUTSequence": table(entries, said_bits, count=said_count)}
    photometric = "MONOCHROME1" if inverted else "MONOCHROME2"
    pixels, _ = shown(dicom(values, PhotometricInterpretation=photometric, **header))
    assert_kept(values, pixels, inverted=inverted)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(8, 16),
    st.floats(-100_000, 100_000, allow_subnormal=False),
    st.floats(0, 100_000, allow_subnormal=False),
    st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
    st.sampled_from(["1", "-1", "0", "0.001", "-250", "1e30"]),
)
def test_no_window_and_no_slope_hides_an_image(
    bits: int, centre: float, width: float, function: str, slope: str
) -> None:
    values = np.linspace(0, (1 << bits) - 1, 64 * 64).round().astype(np.uint16).reshape(64, 64)
    header = {"BitsStored": bits, "HighBit": bits - 1, "VOILUTFunction": function, "RescaleSlope": slope}
    pixels, _ = shown(
        dicom(values, **header, RescaleIntercept="0", WindowCenter=f"{centre:.6g}", WindowWidth=f"{width:.6g}")
    )
    assert_kept(values, pixels, inverted=slope.startswith("-"))


@settings(max_examples=40, deadline=None)
@given(st.binary(min_size=64, max_size=64))
def test_an_eight_bit_picture_stays_unchanged(content: bytes) -> None:
    pixels = np.frombuffer(content, np.uint8).reshape(8, 8)
    if pixels.min() == pixels.max():
        return
    for kind in ("PNG", "WEBP"):
        decoded, notes = shown(encoded(pixels, kind, lossless=True) if kind == "WEBP" else encoded(pixels))
        np.testing.assert_array_equal(decoded, pixels)
        assert notes == ()


@pytest.mark.parametrize("text", ["1,5", "1.5", "+1,5", "1,50 ", "1,5e0"])
def test_decimal_commas_are_points(text: str) -> None:
    from pydicom.dataset import Dataset

    from retrieval.imaging.dicom.header import number_of

    dataset = Dataset()
    dataset.add_new(0x00281050, "LO", text)
    assert number_of(dataset, "WindowCenter", "a.dcm") == 1.5


@pytest.mark.parametrize(("text", "number"), [("1.234,5", 1234.5), ("1,234.5", 1234.5), ("-2048,25", -2048.25)])
def test_digits_may_be_grouped(text: str, number: float) -> None:
    from pydicom.dataset import Dataset

    from retrieval.imaging.dicom.header import number_of

    dataset = Dataset()
    dataset.add_new(0x00281050, "LO", text)
    assert number_of(dataset, "WindowCenter", "a.dcm") == number
