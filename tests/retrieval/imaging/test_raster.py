"""Pictures of every mode are converted to 8 bits in strips, as whole arrays would be."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from benchmarks.image_forms import png16
from retrieval.imaging import raster
from retrieval.imaging.decode import decode_image
from retrieval.imaging.png_header import PngHeader, describe_png
from retrieval.imaging.raster import to_eight_bit
from tests.retrieval.imaging.test_pixel_forms import FILM, assert_like_film

NOISE = np.random.default_rng(2)


@pytest.fixture(autouse=True)
def narrow_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raster, "_STRIP_PIXELS", 500)


def pillow_on_black(image: Image.Image) -> np.ndarray:
    layered = image.convert("RGBA")
    return np.asarray(
        Image.alpha_composite(Image.new("RGBA", layered.size, (0, 0, 0, 255)), layered).convert(
            "L" if image.mode == "LA" else "RGB"
        )
    )


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparency_is_shown_on_black_unless_that_hides_the_image(mode: str) -> None:
    alpha = Image.fromarray(NOISE.integers(0, 256, FILM.shape, dtype=np.uint8) | 0x80)
    image = Image.fromarray(FILM).convert({"RGBA": "RGB", "LA": "L", "PA": "P"}[mode])
    image.putalpha(alpha)
    assert image.mode == mode
    shown, notes = to_eight_bit(image)
    np.testing.assert_array_equal(shown, pillow_on_black(image))
    assert notes == ()


def test_an_opaque_alpha_channel_changes_no_colour() -> None:
    colours = Image.fromarray(NOISE.integers(0, 256, (40, 50, 3), dtype=np.uint8))
    image = colours.convert("RGBA")
    shown, notes = to_eight_bit(image)
    np.testing.assert_array_equal(shown, colours)
    assert notes == ()


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_mask_around_the_film_is_kept(kind: str) -> None:
    alpha = np.zeros_like(FILM)
    alpha[10:80, 10:80] = 255
    buffer = io.BytesIO()
    Image.fromarray(np.dstack([FILM, FILM, FILM, alpha])).save(buffer, kind, lossless=True, exact=True)
    image = decode_image(buffer.getvalue())
    assert image.info == {}
    pixels = np.asarray(image.convert("L"))
    assert pixels[:10].max() == 0
    np.testing.assert_array_equal(pixels[10:80, 10:80], FILM[10:80, 10:80])


@pytest.mark.parametrize(
    ("mode", "values"),
    [
        ("I", FILM.astype(np.int32) * 16),
        ("I", FILM.astype(np.int32) * 100_000 - 5_000_000),
        ("F", FILM.astype(np.float32) / 255),
        ("F", np.where(np.eye(len(FILM)), np.nan, FILM.astype(np.float32) * 1e-6 - 3)),
        ("I;16", FILM.astype(np.uint16) * 7 + 9000),
    ],
)
def test_wide_modes_of_images_in_memory(mode: str, values: np.ndarray) -> None:
    image = Image.fromarray(values.astype(np.float32) if mode == "F" else values)
    assert image.mode == mode
    shown, _ = to_eight_bit(image)
    assert shown.mode == "L"
    pixels = np.asarray(shown).copy()
    if mode == "F":
        np.fill_diagonal(pixels, FILM.diagonal())
    assert_like_film(pixels)


@pytest.mark.parametrize("mode", ["1", "P", "CMYK", "YCbCr", "HSV"])
def test_other_modes_are_converted_by_pillow(mode: str) -> None:
    image = Image.fromarray(FILM).convert("RGB").convert(mode)
    shown, notes = to_eight_bit(image)
    np.testing.assert_array_equal(shown.convert("RGB"), image.convert("RGB"))
    assert notes == ()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("factor", [257, 16, 1])
def test_all_sixteen_bit_channels_are_scaled_alike(channels: int, factor: int) -> None:
    samples = np.dstack([FILM.astype(np.uint16) * factor] * channels)
    if channels in (2, 4):
        samples[:, :, -1] = 65535
    image = decode_image(png16(samples[:, :, 0] if channels == 1 else samples))
    pixels = np.asarray(image.convert("L")).astype(int)
    assert np.abs(pixels - FILM).max() <= 1


def test_hues_of_sixteen_bit_pictures_stay() -> None:
    colours = np.dstack([FILM, 255 - FILM, FILM // 2]).astype(np.uint16)
    pixels = np.asarray(decode_image(png16(colours * 4))).astype(int)
    assert np.abs(pixels - colours).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_sixteen_bit_pictures_are_turned_upright_as_eight_bit_ones(orientation: int) -> None:
    from PIL import ImageOps

    tall = FILM[:60]
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(tall.astype(np.uint16) * 257).save(buffer, "PNG", exif=exif)
    eight = Image.fromarray(tall)
    eight.getexif()[0x0112] = orientation
    np.testing.assert_array_equal(decode_image(buffer.getvalue()), ImageOps.exif_transpose(eight))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (png16(FILM), PngHeader(16, 1, None)),
        (png16(FILM, 12), PngHeader(16, 1, 12)),
        (png16(np.dstack([FILM] * 4), 10), PngHeader(16, 4, 10)),
        (png16(FILM, 16), PngHeader(16, 1, None)),
        (png16(FILM, 12)[:40], PngHeader(16, 1, None)),
        (b"\x89PNG\r\n\x1a\n", None),
        (b"", None),
        (b"\xff\xd8\xff", None),
    ],
)
def test_the_header_of_a_png(data: bytes, expected: PngHeader | None) -> None:
    assert describe_png(data) == expected
