"""A picture (PNG, JPEG, WebP) -> 8 bits a channel, as a viewer shows it.

8-bit pictures stay as they are. 16-bit pictures are scaled by the bits they use. Transparency is applied unless it would
hide the image. The work is done in strips, so that it needs little memory beside the picture and the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.imaging.contrast import FULL_SPREAD, LEAST_SPREAD, Contrast, choose_first_kept
from retrieval.imaging.dicom.grayscale import OWN_RANGE, Grayscale, Rendering, Rescale, Window, count_words, look_up
from retrieval.imaging.dicom.stored_bits import StoredBits
from retrieval.imaging.png_header import PngHeader, describe_png

_STRIP_PIXELS = 1 << 20
_SIXTEEN_BIT_MODES = ("I;16", "I;16B", "I;16L", "I;16N")
_WIDE_MODES = ("I", "F")
GREY_MODES = (*_SIXTEEN_BIT_MODES, *_WIDE_MODES)
"""Modes of more than 8 bits; they become `L`."""
_ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")
_WORD = StoredBits(16, 15, is_signed=False)
_RAW_LOW_BYTES = {3: "RGB;16L", 4: "RGBA;16L"}

OWN_RANGE_NOTE = f"16 bits, of which a part is used: {OWN_RANGE}"
ALPHA_NOTE = "alpha channel hides the image: ignored"
CONSTANT_ALPHA_NOTE = "alpha channel the same everywhere: ignored"
ON_WHITE_NOTE = "image in the alpha channel: shown on white"

Words = NDArray[np.uint16]
Strips = Callable[[], Iterator[tuple[int, Words]]]
Notes = tuple[str, ...]


def to_eight_bit(image: Image.Image, data: bytes = b"") -> tuple[Image.Image, Notes]:
    """The picture in mode `L` or `RGB`, 8 bits a channel, and notes on how it was converted.

    `data` are the bytes of the file that Pillow opened; the header of a PNG says more than Pillow does. An 8-bit picture of
    mode `L` or `RGB` is returned as it is; a new one gets the `info` of `image`. Rules: docs/explanation/pixels.md.
    """
    image.load()
    shown, notes = _convert(image, data, describe_png(data))
    if shown is not image:
        shown.info = image.info.copy()
    return shown, notes


def _convert(image: Image.Image, data: bytes, png: PngHeader | None) -> tuple[Image.Image, Notes]:
    if image.mode in _SIXTEEN_BIT_MODES:
        return _scale_words("L", image.size, lambda: _word_strips(image), png.significant_bits if png else None)
    if image.mode in _WIDE_MODES:
        return _convert_wide(image)
    if png and png.depth == 16 and png.channels > 1 and not _high_bytes_suffice(image):
        return _convert_deep(image, data, png)
    if image.mode in ("L", "RGB"):
        return image, ()
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        return _flatten_alpha(image)
    return image.convert("L" if image.mode == "1" else "RGB"), ()


def _scale_words(
    mode: str, size: tuple[int, int], strips: Strips, significant_bits: int | None
) -> tuple[Image.Image, Notes]:
    """An image of 16-bit words, all channels scaled alike. `strips` is called twice: to count values, and to map them."""
    counts = sum((count_words(words) for _, words in strips()), np.zeros(1 << 16, dtype=np.int64))
    table, notes = _grayscale_of_bits(significant_bits, int(np.flatnonzero(counts)[-1])).table(counts)
    shown = Image.new(mode, size)
    for top, words in strips():
        shown.paste(Image.fromarray(look_up(table, words)), (0, top))
    return shown, notes


def _grayscale_of_bits(significant_bits: int | None, highest: int) -> Grayscale:
    """The grayscale from 0 to the largest value of the significant bits (sBIT chunk), or of the bits that are used.

    The PNG standard wants fewer bits scaled up to 16; many writers do not scale them.
    """
    used = highest.bit_length()
    if significant_bits is None:
        bits, note, least = used, f"16 bits, of which {used} are used", FULL_SPREAD
    else:
        bits = significant_bits if used <= significant_bits else 16
        note, least = f"16 bits, of which {bits} are significant", LEAST_SPREAD
    maximum = float((1 << bits) - 1)
    whole = Window(maximum / 2.0, maximum, "LINEAR_EXACT")
    return Grayscale(
        _WORD,
        (
            Rendering(Rescale(), whole, note if bits < 16 else "", least),
            Rendering(Rescale(), None, OWN_RANGE_NOTE),
        ),
    )


def _convert_wide(image: Image.Image) -> tuple[Image.Image, Notes]:
    """32-bit integers and floats, scaled to 16 bits by their range. Only images in memory have them, no accepted file."""
    low, high = np.inf, -np.inf
    for values in _arrays(image):
        finite = values[np.isfinite(values)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    is_word = image.mode == "I" and low >= 0 and high <= 65535
    offset, scale = (0.0, 1.0) if is_word or high <= low else (low, 65535.0 / (high - low))

    def strips() -> Iterator[tuple[int, Words]]:
        for top, values in _array_strips(image):
            words = np.nan_to_num((values.astype(np.float64) - offset) * scale, posinf=65535.0, neginf=0.0)
            yield top, np.rint(words.clip(0, 65535)).astype(np.uint16)

    return _scale_words("L", image.size, strips, None)


def _high_bytes_suffice(image: Image.Image) -> bool:
    """Whether the upper 8 of 16 bits keep the contrast; Pillow reads no more of images with several channels."""
    colours = 1 if image.mode == "LA" else 3
    histogram = sum((count_words(pixels[:, :, :colours]) for pixels in _arrays(image)), np.zeros(256, dtype=np.int64))
    return Contrast.of(histogram).is_kept(FULL_SPREAD)


def _convert_deep(image: Image.Image, data: bytes, png: PngHeader) -> tuple[Image.Image, Notes]:
    """A 16-bit PNG of several channels whose values use a part of the range."""
    shown, notes = _with_low_bytes(image, data, png)
    if png.channels == 3:
        return shown, notes
    shown.putalpha(image.getchannel("A"))
    flat, more = _flatten_alpha(shown)
    return flat, (*notes, *more)


def _with_low_bytes(image: Image.Image, data: bytes, png: PngHeader) -> tuple[Image.Image, Notes]:
    """The colours of a 16-bit PNG, with their lower 8 bits from a second decoding."""
    low = Image.open(BytesIO(data), formats=("PNG",))
    if png.channels == 2:
        # In the file, 16-bit grey and alpha take the same four bytes as 8-bit RGBA.
        low._mode, raw = "RGBA", "RGBA"
    else:
        raw = _RAW_LOW_BYTES[png.channels]
    low.tile = [tile._replace(args=raw) for tile in low.tile]
    low.load()

    def strips() -> Iterator[tuple[int, Words]]:
        for (top, upper), lower in zip(_array_strips(image), _arrays(low), strict=True):
            if png.channels == 2:
                yield top, lower[:, :, 0].astype(np.uint16) << 8 | lower[:, :, 1]
            else:
                yield top, upper[:, :, :3].astype(np.uint16) << 8 | lower[:, :, :3]

    return _scale_words("L" if png.channels == 2 else "RGB", image.size, strips, png.significant_bits)


def _flatten_alpha(image: Image.Image) -> tuple[Image.Image, Notes]:
    """The image without its alpha channel: on black, unless that hides it; then without alpha, or on white."""
    mode = "L" if image.mode in ("LA", "La") else "RGB"
    layered = image if image.mode in ("LA", "RGBA") else image.convert("LA" if image.mode == "La" else "RGBA")
    lowest, highest = layered.getextrema()[-1]  # type: ignore[misc]
    if lowest == highest:
        return layered.convert(mode), () if lowest == 255 else (CONSTANT_ALPHA_NOTE,)

    ways: tuple[tuple[Callable[[Image.Image], Image.Image], Notes], ...] = (
        (lambda strip: _on_background(strip, 0), ()),
        (lambda strip: strip, (ALPHA_NOTE,)),
        (lambda strip: _on_background(strip, 255), (ON_WHITE_NOTE,)),
    )
    contrasts: list[Contrast] = []
    for way, _ in ways:
        histogram = sum(np.array(way(strip).convert("L").histogram()) for _, strip in _strips(layered))
        contrasts.append(Contrast.of(np.asarray(histogram)))
        if contrasts[-1].is_kept():
            break
    way, notes = ways[choose_first_kept(contrasts, [LEAST_SPREAD] * len(contrasts))]
    shown = Image.new(mode, layered.size)
    for top, strip in _strips(layered):
        shown.paste(way(strip).convert(mode), (0, top))
    return shown, notes


def _on_background(strip: Image.Image, shade: int) -> Image.Image:
    coloured = strip.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", coloured.size, (shade, shade, shade, 255)), coloured)


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Strips of full width from top to bottom, each with the number of its first row."""
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _array_strips(image: Image.Image) -> Iterator[tuple[int, NDArray[Any]]]:
    return ((top, np.asarray(strip)) for top, strip in _strips(image))


def _arrays(image: Image.Image) -> Iterator[NDArray[Any]]:
    return (array for _, array in _array_strips(image))


def _word_strips(image: Image.Image) -> Iterator[tuple[int, Words]]:
    return ((top, array.astype(np.uint16, copy=False)) for top, array in _array_strips(image))
