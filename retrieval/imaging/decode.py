"""Bytes of a file -> an 8-bit image, within limits on bytes and pixels."""

from __future__ import annotations

import contextlib
import io
import stat
import struct
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageOps

from retrieval.errors import (
    EmptyFile,
    ImageBomb,
    ImageError,
    ImageTooLarge,
    MissingFile,
    MultiFrame,
    TruncatedImage,
    UnreadableImage,
    WrongType,
)
from retrieval.imaging.complexity import LIMIT_EXIF_BYTES, require_simple_file
from retrieval.imaging.contrast import require_contrast
from retrieval.imaging.dicom.image import decode_dicom
from retrieval.imaging.png_header import describe_png
from retrieval.imaging.raster import GREY_MODES, to_eight_bit
from retrieval.imaging.signatures import HEAD_BYTES, is_cut_short, is_dicom, raster_format
from retrieval.imaging.warning_filter import ignore_decoder_warnings

FORMATS = ("PNG", "JPEG", "WEBP")
PIXEL_RULES = 2
"""Version of the rules in docs/explanation/pixels.md. It is raised when an accepted file is shown differently."""
LIMIT_BYTES = 64 * 1024 * 1024
LIMIT_PIXELS = 64_000_000
"""A digital radiograph has 4 to 16 million pixels. Four times the largest leaves room, and limits memory to 192 MB."""

Reserve = Callable[[int, int, int, int], None]
"""Called before any pixel is decoded, with width, height, bytes per decoded pixel, and bytes that decoding needs."""

# Bytes per pixel during decoding: Pillow keeps colours in four bytes, and converts to 8 bits beside the original.
_BYTES_BY_MODE = {"1": 2, "L": 2, "P": 5, "I;16": 4, "I;16B": 4, "I;16L": 4, "I;16N": 4, "I": 8, "RGB": 5}
_MOST_BYTES = 12

# Errors of Pillow for damaged input; which one depends on the format and the place of the damage.
_DECODER_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
)


def _reserve_nothing(width: int, height: int, channel_bytes: int, needed: int) -> None:
    """A `Reserve` for callers without a limit on memory."""


def decode_image(
    data: bytes, *, name: str = "the image", allow_burned_in: bool = False, reserve: Reserve = _reserve_nothing
) -> Image.Image:
    """Decode PNG, JPEG, WebP or DICOM bytes into an upright image of mode `L` or `RGB`, 8 bits a channel.

    It runs in this process, which a hostile file can block or crash. Decode untrusted files with
    `retrieval.imaging.decoder_pool`.

    Pictures are converted by `retrieval.imaging.raster`, DICOM files by `retrieval.imaging.dicom.image`. Header values that
    contradict the pixels or would hide them are ignored, with a note. `name` is the name of the image in error messages.
    The image keeps no metadata of the file. Its `info` is empty, or holds `notes`: short strings on how the pixels were
    converted.

    Raises:
        ImageTooLarge: more than `LIMIT_BYTES` bytes.
        ImageBomb: more than `LIMIT_PIXELS` pixels; checked before any pixel is decoded.
        ImageTooComplex: so many parts that decoding would take long.
        EmptyFile, WrongType, TruncatedImage, UnreadableImage: no bytes, another format, incomplete, damaged.
        NoContrast: all pixels have the same value.
        MultiFrame: an animation, or a DICOM object of several frames.
        BurnedIn: a DICOM file with burned-in annotations, and `allow_burned_in` is not set.
        ImageError: as `retrieval.imaging.dicom.image.decode_dicom`.
        MissingExtra: a DICOM file, and pydicom is not installed.
    """
    _require_size(name, len(data))
    if is_dicom(data[:HEAD_BYTES]):
        image, notes = decode_dicom(
            data, name=name, limit_pixels=LIMIT_PIXELS, allow_burned_in=allow_burned_in, reserve=reserve
        )
    else:
        image, notes = _decode_raster(data, name, reserve)
    require_contrast(image, name)
    # EXIF, XMP and colour profiles can name people and places, and Pillow would write them into saved images.
    image.info = {"notes": notes} if notes else {}
    return image


def read_file(path: Path) -> bytes:
    """The bytes of the file at `path`, at least one and at most `LIMIT_BYTES`.

    Raises:
        MissingFile: there is no such file.
        EmptyFile, ImageTooLarge: no bytes, or too many; counted before they are read.
        UnreadableImage: the system refuses to read it, or it is no regular file.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            # Reading a pipe could block for ever.
            raise UnreadableImage(f"{path.name} cannot be read: it is a pipe, a folder or a device, not a regular file")
        _require_size(path.name, found.st_size)
        with path.open("rb") as file:
            data = file.read(LIMIT_BYTES + 1)  # the file may have grown since
    except FileNotFoundError:
        raise MissingFile(f"no file {path.name} in {path.parent}") from None
    except OSError as error:
        raise UnreadableImage(f"{path.name} cannot be read: {error.strerror}") from error
    _require_size(path.name, len(data))
    return data


def _require_size(name: str, size: int) -> None:
    if size == 0:
        raise EmptyFile(f"{name} is empty (0 bytes)")
    if size > LIMIT_BYTES:
        raise ImageTooLarge(f"{name} has {size:,} bytes; at most {LIMIT_BYTES:,} are accepted")


def _decode_raster(data: bytes, name: str, reserve: Reserve) -> tuple[Image.Image, tuple[str, ...]]:
    kind = raster_format(data[:HEAD_BYTES])
    if kind is None:
        raise WrongType(
            f"{name} is not a readable image: its {len(data):,} bytes are not {', '.join(FORMATS)} or DICOM"
        )
    require_simple_file(data, kind, name)
    try:
        # Between one and two times its own limit Pillow only warns; the limit below decides.
        with ignore_decoder_warnings:
            image: Image.Image = Image.open(io.BytesIO(data), formats=(kind,))
            if image.width * image.height > LIMIT_PIXELS:
                raise ImageBomb(
                    f"{name} is {image.width} x {image.height}; at most {LIMIT_PIXELS:,} pixels are accepted"
                )
            # A JPEG of a phone may hold a second image for bright screens, which is no animation.
            if kind != "JPEG" and getattr(image, "is_animated", False):
                raise MultiFrame(f"{name} is an animation; a radiograph has one frame")
            pixels = image.width * image.height
            png = describe_png(data)
            is_hard = "transparency" in image.info or (png is not None and png.depth == 16 and png.channels > 1)
            needed = pixels * (_MOST_BYTES if is_hard else _BYTES_BY_MODE.get(image.mode, _MOST_BYTES))
            reserve(image.width, image.height, 1 if image.mode in ("1", "L", *GREY_MODES) else 4, needed)
            image, notes = to_eight_bit(image, data)
            _turn_upright(image)
            return image, notes
    except ImageError:
        raise
    except Image.DecompressionBombError:
        raise ImageBomb(f"{name} has more than the {LIMIT_PIXELS:,} pixels that are accepted") from None
    except _DECODER_ERRORS as error:
        if is_cut_short(data, kind):
            raise TruncatedImage(
                f"{name} ends after {len(data):,} bytes, before its image does; copy or export it again"
            ) from error
        raise UnreadableImage(
            f"{name} is not a readable {kind} image ({len(data):,} bytes, {type(error).__name__}); copy or export it again"
        ) from error


def _turn_upright(image: Image.Image) -> None:
    # EXIF as hexadecimal text: Pillow would read each entry, and each may be as long as the whole.
    if len(image.info.get("Raw profile type exif", "")) > 2 * LIMIT_EXIF_BYTES:
        return
    # With damaged EXIF the pixels may still be good: the image is not turned.
    with contextlib.suppress(*_DECODER_ERRORS):
        ImageOps.exif_transpose(image, in_place=True)
