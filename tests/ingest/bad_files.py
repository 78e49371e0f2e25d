"""Files that are not radiographs or are damaged, each with the code of its quarantine."""

from __future__ import annotations

import base64
import io
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from PIL import Image
from pydicom.uid import (
    MPEG4HP41,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from tests.dicom_files import (
    JPEG_LOSSLESS,
    JPEG_LS,
    encode_dataset,
    encode_rle,
    gdcm_samples,
    make_compressed_dicom,
    make_dataset,
    make_dicom,
)
from tests.retrieval.imaging.test_dicom import DESCRIPTIONS

Bad = dict[str, tuple[bytes, str]]

GREY = np.random.default_rng(0).integers(0, 255, (40, 48), dtype=np.uint8)
STORED = GREY.astype(np.uint16) * 16


def encoded(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    buffer = io.BytesIO()
    (image or Image.fromarray(GREY)).save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *, bits: int = 8, colour: int = 0, before: bytes = b"") -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    pixels = png_chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + header + before + pixels + png_chunk(b"IEND", b"")


def changed(data: bytes, place: int, content: bytes) -> bytes:
    return data[:place] + content + data[place + len(content) :]


def other_formats() -> dict[str, bytes]:
    return {
        "text": b"The heart is normal.",
        "html": b"<!doctype html><title>404 Not Found</title>",
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
        "zip": b"PK\x03\x04" + bytes(60),
        "gzip": b"\x1f\x8b\x08\x00" + bytes(60),
        "executable": b"\x7fELF\x02\x01\x01" + bytes(300),
        "zeros": bytes(5000),
        "gif": encoded("GIF"),
        "bmp": encoded("BMP"),
        "tiff": encoded("TIFF"),
        "jp2": encoded("JPEG2000"),
    }


def pictures() -> Bad:
    """PNG, JPEG and WebP."""
    good_png, good_jpeg, good_webp = encoded("PNG"), encoded("JPEG"), encoded("WEBP", quality=90)
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    text_bomb = png_chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(200_000_000), 9))
    size = good_jpeg.index(b"\xff\xc0") + 5
    bad: Bad = {
        "empty.png": (b"", "empty_file"),
        "signature.png": (b"\x89PNG\r\n\x1a\n", "truncated_image"),
        "header-only.png": (good_png[:33], "truncated_image"),
        "half.png": (good_png[: len(good_png) // 2], "truncated_image"),
        "end-missing.png": (good_png[:-30], "truncated_image"),
        "header-checksum.png": (changed(good_png, 29, b"\0\0\0\0"), "unreadable_image"),
        "pixels-damaged.png": (changed(good_png, good_png.index(b"IDAT") + 6, bytes(200)), "unreadable_image"),
        "no-width.png": (png(0, 10), "unreadable_image"),
        "colour-unknown.png": (png(10, 10, colour=5), "unreadable_image"),
        "too-few-pixels.png": (png(2000, 2000), "unreadable_image"),
        "text-bomb.png": (png(10, 10, before=text_bomb), "unreadable_image"),
        "bomb-81-megapixels.png": (png(9_000, 9_000), "image_bomb"),
        "bomb-900-megapixels.png": (png(30_000, 30_000, bits=16), "image_bomb"),
        "bomb-of-all.png": (png(2**31 - 1, 2**31 - 1), "image_bomb"),
        "animation.png": (encoded("PNG", frames[0], save_all=True, append_images=frames[1:]), "multi_frame"),
        "empty.jpg": (b"", "empty_file"),
        "start.jpg": (b"\xff\xd8\xff", "truncated_image"),
        "half.jpg": (good_jpeg[: len(good_jpeg) // 2], "truncated_image"),
        "before-scan.jpg": (good_jpeg[: good_jpeg.index(b"\xff\xda")], "truncated_image"),
        "tables-damaged.jpg": (changed(good_jpeg, good_jpeg.index(b"\xff\xc4") + 5, b"\xf7" * 12), "unreadable_image"),
        "no-width.jpg": (changed(good_jpeg, size + 2, b"\0\0"), "unreadable_image"),
        "bomb.jpg": (changed(good_jpeg, size, b"\xff\xff\xff\xff"), "image_bomb"),
        "bomb-81-megapixels.jpg": (changed(good_jpeg, size, struct.pack(">HH", 9000, 9000)), "image_bomb"),
        "empty.webp": (b"", "empty_file"),
        "start.webp": (good_webp[:12], "truncated_image"),
        "half.webp": (good_webp[: len(good_webp) // 2], "truncated_image"),
        "damaged.webp": (changed(good_webp, 22, b"\xf7" * 8), "unreadable_image"),
        "animation.webp": (encoded("WEBP", frames[0], save_all=True, append_images=frames[1:]), "multi_frame"),
        "many-bytes.png": (good_png + bytes(64 * 1024 * 1024), "image_too_large"),
    }
    suffixes = (".png", ".jpg", ".webp")
    for number, (name, content) in enumerate(other_formats().items()):
        bad[f"{name}{suffixes[number % 3]}"] = (content, "wrong_type")
    return bad


def dicom_files() -> Bad:
    """DICOM files, and other files that are often found in DICOM trees."""
    good = make_dicom(STORED)
    twelve = gdcm_samples()
    lossless, near = base64.b64decode(JPEG_LOSSLESS), base64.b64decode(JPEG_LS)
    runs = encode_rle(GREY)
    jpeg, j2k = encoded("JPEG"), encoded("JPEG2000", irreversible=False, no_jp2=True)
    grey, twelve_bits = make_dataset(GREY), make_dataset(STORED, BitsStored=12)
    before_pixels = good.index(b"\x28\0\x02\0")
    deflated = make_dicom(STORED, syntax=DeflatedExplicitVRLittleEndian)
    inflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = inflater.compress(bytes(500_000_000)) + inflater.flush()
    meta_end = 144 + struct.unpack("<I", deflated[140:144])[0]
    many_items = b"\x28\0\x00\x30SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\0\0\0\0" * 1_500_000
    nested = b"\x28\0\x00\x30SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 20_000
    bad: Bad = {
        "empty": (b"", "empty_file"),
        "preamble-only": (bytes(128) + b"DICM", "truncated_image"),
        "cut-in-meta": (good[:200], "truncated_image"),
        "cut-in-header": (good[: before_pixels + 43], "truncated_image"),
        "cut-before-pixels": (good[: -STORED.nbytes - 6], "truncated_image"),
        "cut-in-pixels": (good[:-1000], "truncated_image"),
        "cut-in-deflated": (deflated[:-200], "truncated_image"),
        "not-deflated": (changed(deflated, meta_end, b"\xff" * 100), "unreadable_image"),
        "bomb-deflated": (deflated[:meta_end] + bomb, "image_bomb"),
        "bomb-rows": (make_dicom(STORED, Rows=65535, Columns=65535), "image_bomb"),
        "bomb-frames": (make_dicom(STORED, NumberOfFrames=2_000_000_000), "image_bomb"),
        "bomb-items": (good[:before_pixels] + many_items, "unreadable_image"),
        "nested": (good[:before_pixels] + nested, "unreadable_image"),
        "element-longer-than-file": (
            good[:before_pixels] + b"\x28\0\x00\x30SQ\0\0\xf0\xff\xff\xff" + good[before_pixels:],
            "truncated_image",
        ),
        "many-bytes": (good + bytes(64 * 1024 * 1024), "image_too_large"),
        "film-loop": (make_dicom(STORED, Rows=20, NumberOfFrames=2), "multi_frame"),
        "no-pixels": (make_dicom(), "no_pixels"),
        "float-pixels": (
            encode_dataset(make_dataset(STORED, PixelData=None, FloatPixelData=STORED.astype(np.float32).tobytes())),
            "no_pixels",
        ),
        "fewer-pixels": (make_dicom(STORED, Rows=41), "truncated_image"),
        "burned-in": (make_dicom(STORED, BurnedInAnnotation="YES"), "burned_in"),
        "ct": (make_dicom(STORED, Modality="CT", SOPClassUID=CTImageStorage), "wrong_modality"),
        "ct-without-modality": (make_dicom(STORED, Modality=None, SOPClassUID=CTImageStorage), "wrong_modality"),
        "screenshot": (make_dicom(STORED, Modality="OT", SOPClassUID=SecondaryCaptureImageStorage), "wrong_modality"),
        "plan": (encode_dataset(make_dataset(None, Modality="RTPLAN")), "wrong_modality"),
        "htj2k": (make_compressed_dicom(grey, j2k, HTJ2KLossless), "unsupported_transfer_syntax"),
        "film": (make_compressed_dicom(grey, bytes(100), MPEG4HP41), "unsupported_transfer_syntax"),
        "private-syntax": (encode_dataset(make_dataset(GREY), "1.2.840.113619.5.2"), "unsupported_transfer_syntax"),
        "jpeg-12-bits": (
            make_compressed_dicom(
                twelve_bits, changed(jpeg, jpeg.index(b"\xff\xc0"), b"\xff\xc1\0\x0b\x0c"), JPEGExtended12Bit
            ),
            "unsupported_transfer_syntax",
        ),
        "jpeg-cut": (make_compressed_dicom(grey, jpeg[:-300], JPEGBaseline8Bit), "truncated_image"),
        "jpeg-damaged": (
            make_compressed_dicom(grey, changed(jpeg, jpeg.index(b"\xff\xc4") + 5, b"\xf7" * 12), JPEGBaseline8Bit),
            "unreadable_image",
        ),
        "jpeg-of-another-size": (
            make_compressed_dicom(make_dataset(GREY[:20]), jpeg, JPEGBaseline8Bit),
            "bad_pixel_description",
        ),
        "jpeg-huge-inside": (
            make_compressed_dicom(
                grey, changed(jpeg, jpeg.index(b"\xff\xc0") + 5, b"\xff\xff\xff\xff"), JPEGBaseline8Bit
            ),
            "bad_pixel_description",
        ),
        "no-codestream": (make_compressed_dicom(grey, b"The heart is normal.", JPEGBaseline8Bit), "unreadable_image"),
        "j2k-cut": (make_compressed_dicom(grey, j2k[:-300], JPEG2000Lossless), "truncated_image"),
        "j2k-damaged": (make_compressed_dicom(grey, changed(j2k, 60, bytes(60)), JPEG2000Lossless), "unreadable_image"),
        "j2k-huge-inside": (
            make_compressed_dicom(grey, changed(j2k, 8, struct.pack(">II", 60_000, 60_000)), JPEG2000Lossless),
            "bad_pixel_description",
        ),
        "lossless-damaged": (
            make_compressed_dicom(make_dataset(twelve), changed(lossless, 25, b"\xff" * 35), JPEGLossless),
            "unreadable_image",
        ),
        "lossless-cut": (make_compressed_dicom(make_dataset(twelve), lossless[:-60], JPEGLossless), "truncated_image"),
        "jpeg-ls-damaged": (
            make_compressed_dicom(make_dataset(twelve), changed(near, 60, b"\xaa" * 60), JPEGLSLossless),
            "unreadable_image",
        ),
        "rle-cut": (make_compressed_dicom(grey, runs[: len(runs) // 2], RLELossless), "truncated_image"),
        "rle-segments": (make_compressed_dicom(grey, changed(runs, 0, b"\x03"), RLELossless), "bad_pixel_description"),
        "rle-offsets": (
            make_compressed_dicom(grey, changed(runs, 4, b"\xf0\xff\xff\xff"), RLELossless),
            "truncated_image",
        ),
        "compressed-said-native": (
            make_compressed_dicom(grey, jpeg, JPEGBaseline8Bit).replace(
                b"1.2.840.10008.1.2.4.50", b"1.2.840.10008.1.2.1\0\0\0"
            ),
            "unreadable_image",
        ),
        "native-said-compressed": (
            good.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0"),
            "unreadable_image",
        ),
        "item-longer-than-file": (
            make_compressed_dicom(grey, jpeg, JPEGBaseline8Bit).replace(
                b"\xfe\xff\x00\xe0" + struct.pack("<I", len(jpeg) + len(jpeg) % 2), b"\xfe\xff\x00\xe0\xf0\xff\xff\x7f"
            ),
            "truncated_image",
        ),
    }
    for name, elements in DESCRIPTIONS.items():
        bad[name.replace(" ", "-")] = (make_dicom(STORED, **elements), "bad_pixel_description")
    for name, content in other_formats().items():
        bad[f"{name}.dcm"] = (content, "wrong_type")
    return {
        name: (with_another_uid(content, number), code) for number, (name, (content, code)) in enumerate(bad.items())
    }


def with_another_uid(data: bytes, number: int) -> bytes:
    """The file with a new SOPInstanceUID of the same length."""

    def other(found: re.Match[bytes]) -> bytes:
        return found[1] + b"1.2.3." + str(number + 10**6).encode().rjust(len(found[2]) - 6, b"7")

    return re.sub(rb"(\x08\x00\x18\x00UI..)([0-9.]{20,})", other, data, count=1, flags=re.DOTALL)


PYDICOM = {
    "693_J2KI.dcm": "wrong_modality",
    "CT_small.dcm": "wrong_modality",
    "ExplVR_BigEnd.dcm": "wrong_modality",
    "ExplVR_BigEndNoMeta.dcm": "wrong_type",
    "ExplVR_LitEndNoMeta.dcm": "wrong_modality",
    "GDCMJ2K_TextGBR.dcm": "unreadable_image",
    "JPEG-lossy.dcm": "wrong_modality",
    "JPEG2000-embedded-sequence-delimiter.dcm": "wrong_modality",
    "MR_small_padded.dcm": "wrong_modality",
    "MR_truncated.dcm": "wrong_modality",
    "README.txt": "wrong_type",
    "SC_rgb_rle_32bit_2frame.dcm": "wrong_modality",
    "UN_sequence.dcm": "wrong_modality",
    "badVR.dcm": "wrong_modality",
    "crayons.icc": "wrong_type",
    "empty_charset_LEI.dcm": "no_pixels",
    "liver_1frame.dcm": "wrong_modality",
    "meta_missing_tsyntax.dcm": "bad_pixel_description",
    "nested_priv_SQ.dcm": "bad_pixel_description",
    "no_meta.dcm": "wrong_type",
    "no_meta_group_length.dcm": "wrong_modality",
    "rtdose.dcm": "wrong_modality",
    "rtplan.dcm": "wrong_modality",
    "rtplan_truncated.dcm": "wrong_modality",
    "rtstruct.dcm": "wrong_modality",
    "test1.json": "wrong_type",
    "waveform_ecg.dcm": "wrong_modality",
    "zipMR.gz": "wrong_type",
}
"""Test files of pydicom that are damaged or not radiographs."""


def pydicom_files() -> Bad:
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    return {f"pydicom/{name}": ((folder / name).read_bytes(), code) for name, code in PYDICOM.items()}
