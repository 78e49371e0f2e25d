"""Small files that would take long to decode are refused before decoding; files of common encoders pass."""

from __future__ import annotations

import contextlib
import io
import struct
import time
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from pydicom.uid import JPEGBaseline8Bit, JPEGLSLossless

from retrieval.errors import ImageError, ImageTooComplex, MultiFrame
from retrieval.imaging.complexity import LIMIT_SCANS
from retrieval.imaging.decode import decode_image
from tests.dicom_files import make_compressed_dicom, make_dataset

GREY = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8))


def encoded(kind: str, image: Image.Image = GREY, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


JPEG, PROGRESSIVE = encoded("JPEG"), encoded("JPEG", progressive=True)
PNG, WEBP = encoded("PNG"), encoded("WEBP", lossless=True)


def segment(marker: int, content: bytes = b"") -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", 2 + len(content)) + content


def after_start(content: bytes, jpeg: bytes = JPEG) -> bytes:
    return jpeg[:2] + content + jpeg[2:]


def with_scans(count: int, data: bytes = PROGRESSIVE) -> bytes:
    """The progressive JPEG with `count` further copies of its last scan."""
    start = data.rindex(b"\xff\xda")
    return data[:start] + data[start:-2] * count + data[start:]


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def after_header(chunks: bytes) -> bytes:
    return PNG[:33] + chunks + PNG[33:]


def in_small_chunks(size: int) -> bytes:
    start = PNG.index(b"IDAT")
    (length,) = struct.unpack(">I", PNG[start - 4 : start])
    content = PNG[start + 4 : start + 4 + length]
    parts = b"".join(chunk(b"IDAT", content[place : place + size]) for place in range(0, length, size))
    return PNG[: start - 4] + parts + PNG[start + 8 + length :]


def in_riff(chunks: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", len(WEBP) - 8 + len(chunks)) + WEBP[8:] + chunks


EXIF = b"Exif\0\0" + b"M" * 50
SLOW = {
    "scans": with_scans(LIMIT_SCANS),
    "scans of a baseline JPEG": with_scans(4_000, JPEG),
    "scans of 12,000": with_scans(12_000),
    "small EXIF segments": after_start(segment(0xE1, EXIF) * 60_000),
    "EXIF segments of 64 KB": after_start(segment(0xE1, b"Exif\0\0" + bytes(60_000)) * 3),
    "comments": after_start(segment(0xFE, b"x") * 100_000),
    "Huffman tables": after_start(segment(0xC4, b"\0" * 17) * 50_000),
    "quantisation tables": after_start(segment(0xDB, b"\0" * 65) * 50_000),
    "restart intervals": after_start(segment(0xDD, b"\0\1") * 50_000),
    "profiles": after_start(segment(0xE2, b"ICC_PROFILE\0\1\1x") * 2_000),
    "Photoshop blocks": after_start(segment(0xED, b"Photoshop 3.0\0" + b"8BIM\0\0\0\0\0\0\0\0" * 5_000) * 200),
    "fill bytes": after_start(b"\xff" * 12_000_000),
    "fill bytes before every marker": after_start((b"\xff" * 1_000 + segment(0xFE)) * 1_000),
    "garbage between segments": after_start(segment(0xFE) + bytes(12_000_000)),
    "escaped bytes between segments": after_start(b"\xff\0" * 100_000),
    "standalone markers": after_start(b"\xff\xd8" * 100_000),
    "restart markers": after_start(b"\xff\xd0" * 100_000),
    "pixels in empty chunks": after_header(chunk(b"IDAT", b"") * 40_000),
    "empty comments of a PNG": after_header(chunk(b"tEXt", b"k\0") * 2_000),
    "unknown chunks": after_header(chunk(b"prVt", b"") * 2_000),
    "compressed comments": after_header(chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(900_000))) * 2_000),
    "EXIF of a PNG": after_header(chunk(b"eXIf", bytes(200_000))),
    "EXIF of a WebP": in_riff(b"EXIF" + struct.pack("<I", 200_000) + bytes(200_000)),
    "chunks of a WebP": in_riff(b"prVt\0\0\0\0" * 10_000),
}  # fmt: skip


@pytest.mark.parametrize("name", SLOW)
def test_a_file_with_too_many_parts_is_refused_quickly(name: str) -> None:
    begun = time.process_time()
    with pytest.raises(
        ImageTooComplex, match=r"slow\.img has more than [0-9,]+ [A-Za-z ]+, which would take long"
    ) as caught:
        decode_image(SLOW[name], name="slow.img")
    assert caught.value.code == "image_too_complex"
    assert time.process_time() - begun < 2


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGLSLossless])
@pytest.mark.parametrize("name", ["scans of a baseline JPEG", "fill bytes", "comments", "garbage between segments"])
def test_a_jpeg_with_too_many_parts_is_refused_within_dicom(name: str, syntax: str) -> None:
    begun = time.process_time()
    with pytest.raises(ImageTooComplex):
        decode_image(make_compressed_dicom(make_dataset(np.asarray(GREY)), SLOW[name], syntax), name="slow.dcm")
    assert time.process_time() - begun < 2


HONEST = {
    "progressive": PROGRESSIVE,
    "progressive in colour": encoded("JPEG", GREY.convert("RGB"), progressive=True, subsampling=0),
    "restart intervals": encoded("JPEG", restart_marker_blocks=1),
    "optimised": encoded("JPEG", optimize=True, quality=99),
    "a profile of 3 MB": encoded("JPEG", icc_profile=bytes(3_000_000)),
    "a comment and EXIF": encoded("JPEG", exif=EXIF + bytes(60_000), comment=b"x" * 60_000),
    "a few fill bytes": after_start(b"\xff" * 4_000),
    "a second image behind the first": JPEG + with_scans(500),
    "pixels in chunks of 64 bytes": in_small_chunks(64),
    "EXIF in a PNG": encoded("PNG", exif=EXIF),
    "EXIF in a WebP": encoded("WEBP", exif=EXIF),
}


@pytest.mark.parametrize("name", HONEST)
def test_files_of_common_encoders_are_decoded(name: str) -> None:
    assert decode_image(HONEST[name]).size == GREY.size


def test_animations_are_refused_as_animations() -> None:
    frames = [Image.new("L", (4, 4), shade) for shade in range(200)] * 4
    for kind in ("PNG", "WEBP"):
        with pytest.raises(MultiFrame):
            decode_image(encoded(kind, frames[0], save_all=True, append_images=frames[1:]))


def test_exif_as_text_is_read_only_if_it_is_short() -> None:
    def with_text(length: int) -> bytes:
        exif = Image.Exif()
        exif[0x0112] = 6
        content = exif.tobytes() + bytes(length)
        text = PngImagePlugin.PngInfo()
        text.add_text("Raw profile type exif", f"\nexif\n{len(content):8}\n{content.hex()}\n", zip=True)
        return encoded("PNG", GREY.crop((0, 0, 8, 4)), pnginfo=text)

    assert decode_image(with_text(0)).size == (4, 8)
    assert decode_image(with_text(300_000)).size == (8, 4)


@settings(max_examples=60, deadline=2_000)
@given(st.data())
def test_bytes_between_segments_take_no_time(data: st.DataObject) -> None:
    """Any mixture of repeated parts quickly gives an image or an `ImageError`."""
    parts = st.one_of(
        st.binary(max_size=6),
        st.sampled_from([b"\xff", b"\xff\0", b"\xff\xd0", b"\xff\xd8", b"\xff\xff\xff", b"\0"]),
        st.builds(segment, st.integers(0xC0, 0xFE), st.binary(max_size=20)),
    )
    content = b"".join(data.draw(parts) * data.draw(st.sampled_from([1, 3, 40_000])) for _ in range(3))
    place = data.draw(st.sampled_from([2, JPEG.index(b"\xff\xda"), len(JPEG) - 2]))
    begun = time.process_time()
    with contextlib.suppress(ImageError):
        decode_image(JPEG[:place] + content + JPEG[place:])
    assert time.process_time() - begun < 2
