import io

import numpy as np
import pytest
from PIL import Image

from retrieval.errors import ImageTooLarge, MissingFile, UnreadableImage
from retrieval.imaging import decode
from retrieval.imaging.decode import decode_image, read_image


def encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_sixteen_bit_grey_is_scaled_and_not_clipped():
    ramp = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    image = decode_image(encode(Image.fromarray(ramp)))
    assert np.asarray(image).tolist() == [[0, 1, 128, 255]]


def test_transparency_is_laid_on_black():
    image = decode_image(encode(Image.new("RGBA", (2, 2), (200, 100, 50, 0))))
    assert np.asarray(image).max() == 0


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_mode_becomes_grey_or_rgb(mode):
    assert decode_image(encode(Image.new(mode, (3, 4)))).mode in ("L", "RGB")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_truncated_file_is_an_error_and_no_grey_image(kind):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8))
    data = encode(noise, kind)
    with pytest.raises(UnreadableImage):
        decode_image(data[: len(data) // 2], name="half.img")


@pytest.mark.parametrize("data", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"GIF89a" + bytes(20)])
def test_what_is_no_accepted_image_is_named(data):
    with pytest.raises(UnreadableImage, match=r"case\.png is not a readable"):
        decode_image(data, name="case.png")


def test_an_orientation_tag_is_applied():
    tall = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(4, 3) * 20)
    exif = tall.getexif()
    exif[0x0112] = 6
    assert decode_image(encode(tall, "PNG", exif=exif)).size == (4, 3)


def test_pixels_are_counted_before_they_are_decoded(monkeypatch):
    monkeypatch.setattr(decode, "LIMIT_PIXELS", 100)
    with pytest.raises(ImageTooLarge, match="20 x 20"):
        decode_image(encode(Image.new("L", (20, 20))))


def test_bytes_are_counted_before_a_file_is_read(tmp_path, monkeypatch):
    path = tmp_path / "big.png"
    path.write_bytes(bytes(50))
    monkeypatch.setattr(decode, "LIMIT_BYTES", 10)
    with pytest.raises(ImageTooLarge, match="50 bytes"):
        read_image(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(MissingFile, match=r"no file gone\.png"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(UnreadableImage):
        read_image(tmp_path)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_damaged_exif_says_nothing_against_the_image(kind):
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, format=kind, exif=b"Exif\0\0II*\0")
    assert decode_image(buffer.getvalue()).size == (8, 8)
