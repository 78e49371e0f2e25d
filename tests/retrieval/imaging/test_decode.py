"""Files are decoded to 8-bit images, within limits; damaged and unaccepted files are refused."""

import io
import os
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from ingest.thumbnails import write_thumbnail
from retrieval.errors import (
    EmptyFile,
    ImageBomb,
    ImageTooLarge,
    MissingFile,
    MultiFrame,
    TruncatedImage,
    UnreadableImage,
    WrongType,
)
from retrieval.imaging import decode
from retrieval.imaging.decode import decode_image, read_file
from retrieval.imaging.decoder_pool import read_image


def encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_sixteen_bit_grey_is_scaled_and_not_clipped():
    ramp = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    image = decode_image(encode(Image.fromarray(ramp)))
    assert np.asarray(image).tolist() == [[0, 1, 128, 255]]


def picture(mode="L", size=(8, 8)):
    """A picture with contrast."""
    return Image.linear_gradient("L").resize(size).convert(mode)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_mode_becomes_grey_or_rgb(mode):
    assert decode_image(encode(picture(mode))).mode in ("L", "RGB")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_truncated_file_is_an_error(kind):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8))
    data = encode(noise, kind)
    for part in (0.1, 0.5, 0.95):
        with pytest.raises(TruncatedImage, match=r"half\.img ends after"):
            decode_image(data[: int(len(data) * part)], name="half.img")


@pytest.mark.parametrize("data", [b"hello", b"GIF89a" + bytes(20), b"%PDF-1.7\n", b"PK\3\4" + bytes(30), bytes(200)])
def test_an_unaccepted_format_is_an_error_that_names_the_file(data):
    with pytest.raises(WrongType, match=r"case\.png is not a readable image") as caught:
        decode_image(data, name="case.png")
    assert isinstance(caught.value, UnreadableImage)


def test_a_file_without_bytes_is_an_error(tmp_path):
    with pytest.raises(EmptyFile, match=r"case\.png is empty"):
        decode_image(b"", name="case.png")
    (tmp_path / "empty.png").touch()
    with pytest.raises(EmptyFile, match=r"empty\.png is empty"):
        read_file(tmp_path / "empty.png")


@pytest.mark.parametrize(("kind", "before"), [("PNG", b"IDAT"), ("JPEG", b"\xff\xc4"), ("WEBP", b"VP8 ")])
def test_a_file_damaged_within_is_not_reported_as_truncated(kind, before):
    data = bytearray(encode(Image.new("L", (64, 64), 90), kind))
    start = data.index(before) + 5
    data[start : start + 12] = bytes([0xF7]) * 12
    with pytest.raises(UnreadableImage) as caught:
        decode_image(bytes(data))
    assert caught.value.code == "unreadable_image"


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_animation_is_refused(kind):
    frames = [Image.new("L", (8, 8), shade) for shade in (10, 200)]
    with pytest.raises(MultiFrame, match="animation"):
        decode_image(encode(frames[0], kind, save_all=True, append_images=frames[1:]))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_no_metadata_of_a_file_reaches_a_thumbnail(kind, tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "Jane Roe"
    options = {"exif": exif, "icc_profile": b"profile of Jane Roe", "xmp": b"<x>Jane Roe</x>"}
    data = encode(picture("RGB", (32, 32)), kind, **options)
    assert b"Jane Roe" in data
    image = decode_image(data)
    assert image.info == {}
    assert b"Jane Roe" not in write_thumbnail(image, "0" * 64, tmp_path).read_bytes()


def test_warnings_of_decoders_are_dropped_in_all_threads():
    buffer = io.BytesIO()
    picture().save(buffer, format="PNG", exif=b"Exif\0\0II*\0")
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        sizes = set(pool.map(lambda _: decode_image(buffer.getvalue()).size, range(200)))
    assert sizes == {(8, 8)}
    assert warnings.filters == before


def test_an_orientation_tag_is_applied():
    tall = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(4, 3) * 20)
    exif = tall.getexif()
    exif[0x0112] = 6
    assert decode_image(encode(tall, "PNG", exif=exif)).size == (4, 3)


def test_pixels_are_counted_before_they_are_decoded(monkeypatch):
    monkeypatch.setattr(decode, "LIMIT_PIXELS", 100)
    with pytest.raises(ImageBomb, match="20 x 20") as caught:
        decode_image(encode(Image.new("L", (20, 20))))
    assert isinstance(caught.value, ImageTooLarge)


def test_an_image_beyond_the_limit_of_pillow_is_refused():
    chunk = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    data = (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + chunk + struct.pack(">I", zlib.crc32(b"IHDR" + chunk))
    )
    with pytest.raises(ImageBomb):
        decode_image(data + struct.pack(">I", 100) + b"IDAT" + bytes(104))


def test_bytes_are_counted_before_a_file_is_read(tmp_path, monkeypatch):
    path = tmp_path / "big.png"
    path.write_bytes(bytes(50))
    monkeypatch.setattr(decode, "LIMIT_BYTES", 10)
    with pytest.raises(ImageTooLarge, match="50 bytes"):
        read_image(path)


def test_a_missing_file_and_a_folder_are_errors_that_name_them(tmp_path):
    with pytest.raises(MissingFile, match=r"no file gone\.png"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(UnreadableImage):
        read_image(tmp_path)


def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UnreadableImage, match="not a regular file"):
        read_file(tmp_path / "pipe.png")


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_image_with_damaged_exif_is_decoded(kind):
    buffer = io.BytesIO()
    picture().save(buffer, format=kind, exif=b"Exif\0\0II*\0")
    assert decode_image(buffer.getvalue()).size == (8, 8)
