"""Bytes -> an 8-bit image in memory, within limits on bytes and pixels."""

from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from retrieval.errors import ImageError, ImageTooLarge, MissingFile, UnreadableImage

FORMATS = ("PNG", "JPEG", "WEBP")
LIMIT_BYTES = 64 * 1024 * 1024
LIMIT_PIXELS = 64_000_000
"""A digital radiograph has 4 to 16 million pixels; four times the largest leaves room and bounds memory at 192 MB."""

_SIXTEEN_BIT_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I")


# Pillow's decoders raise these for damaged input, depending on format and where the damage lies.
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


def decode_image(data: bytes, *, name: str = "the image") -> Image.Image:
    """Decode PNG, JPEG or WebP bytes into an image of mode `L` or `RGB`, upright, 8 bits a channel.

    16-bit grey is scaled linearly (65535 becomes 255), transparency is laid on black, as a viewer with a black background
    shows it. `name` is what error messages call the image.

    Raises:
        ImageTooLarge: more than `LIMIT_BYTES` bytes or `LIMIT_PIXELS` pixels; checked before any pixel is decoded.
        UnreadableImage: not an image, of another format, or truncated.
    """
    if len(data) > LIMIT_BYTES:
        raise ImageTooLarge(f"{name} has {len(data):,} bytes; at most {LIMIT_BYTES:,} are accepted")
    try:
        with warnings.catch_warnings():
            # Pillow only warns between one and two times its own limit; ours below is the one that counts.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > LIMIT_PIXELS:
            raise ImageTooLarge(
                f"{name} is {image.width} x {image.height}; at most {LIMIT_PIXELS:,} pixels are accepted"
            )
        image.load()
        return _to_eight_bit(_upright(image))
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageTooLarge(f"{name}: {error}") from error
    except _DECODER_ERRORS as error:
        found = "no bytes" if not data else f"{len(data):,} bytes"
        raise UnreadableImage(
            f"{name} is not a readable {', '.join(FORMATS)} image ({found}): {type(error).__name__}"
        ) from error


def _upright(image: Image.Image) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Corrupt EXIF data")
            return ImageOps.exif_transpose(image)
    except _DECODER_ERRORS:  # damaged EXIF names no orientation, and says nothing against the pixels
        return image


def read_image(path: Path) -> tuple[Image.Image, bytes]:
    """Decode the file at `path`; also gives its bytes, for hashing.

    Raises:
        MissingFile: there is no such file.
        ImageError: as `decode_image`.
    """
    try:
        if path.stat().st_size > LIMIT_BYTES:
            raise ImageTooLarge(f"{path.name} has {path.stat().st_size:,} bytes; at most {LIMIT_BYTES:,} are accepted")
        data = path.read_bytes()
    except FileNotFoundError:
        raise MissingFile(f"no file {path.name} in {path.parent}") from None
    except OSError as error:
        raise UnreadableImage(f"{path.name} cannot be read: {error.strerror}") from error
    return decode_image(data, name=path.name), data


def _to_eight_bit(image: Image.Image) -> Image.Image:
    if image.mode in ("L", "RGB"):
        return image
    if image.mode in _SIXTEEN_BIT_MODES:
        # Image.convert("L") would clip at 255 instead of scaling.
        grey = np.asarray(image).astype(np.float64).clip(0, 65535) / 257.0
        return Image.fromarray(np.round(grey).astype(np.uint8))
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        layered = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layered.size, (0, 0, 0, 255)), layered).convert("RGB")
    return image.convert("L" if image.mode == "1" else "RGB")
