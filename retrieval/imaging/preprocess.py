"""An 8-bit image -> `pixel_values`, equal to those of the model's reference processor, without torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.errors import BundleError, ImageTooLarge
from retrieval.imaging.model_input import Preprocessing
from retrieval.imaging.raster import to_eight_bit

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

# A strip of 1 x 100,000 pixels would need gigabytes as a square; a radiograph of 64 megapixels does not.
LIMIT_CANVAS_PIXELS = 128_000_000


class ImagePreprocessor:
    """Applies the preprocessing of a bundle's manifest. Stateless after construction; safe in threads."""

    def __init__(self, settings: Preprocessing) -> None:
        self.settings = settings
        self.size = settings.size
        try:
            self._resampling = _RESAMPLING[settings.interpolation]
        except KeyError:
            raise BundleError(
                f"unknown interpolation {settings.interpolation!r}; expected {', '.join(_RESAMPLING)}"
            ) from None
        mean = np.array(settings.mean, dtype=np.float32).reshape(3, 1, 1)
        std = np.array(settings.std, dtype=np.float32).reshape(3, 1, 1)
        # (x / 255 - mean) / std as one multiplication and one addition.
        self._scale = (1.0 / (255.0 * std)).astype(np.float32)
        self._shift = (-mean / std).astype(np.float32)

    def __call__(self, image: Image.Image) -> NDArray[np.float32]:
        """`pixel_values` of one image: float32 [3, size, size]."""
        # Resizing treats channels alike, so a grey image is resized once instead of three times.
        return self.normalize(self.resize(to_eight_bit(image)[0]))

    def normalize(self, square: Image.Image) -> NDArray[np.float32]:
        """`pixel_values` of a result of `resize`: float32 [3, size, size]."""
        pixels = np.asarray(square, dtype=np.float32)
        channels = pixels[np.newaxis] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        return channels * self._scale + self._shift

    def batch(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """`pixel_values` of several images: float32 [B, 3, size, size]."""
        return np.stack([self(image) for image in images])

    def resize(self, image: Image.Image) -> Image.Image:
        """The image, of mode L or RGB, at `size` x `size`, still 8 bit and of the same mode.

        Raises:
            ImageTooLarge: the image is so elongated that an intermediate image would not fit into memory.
            BundleError: the manifest names an unknown mode.
        """
        size = self.size
        match self.settings.mode:
            case "stretch":
                return self._scaled(image, size, size)
            case "shortest_side_crop":
                width, height = image.size
                # Truncation, not rounding, as in the reference processors (transformers' get_resize_output_image_size,
                # torchvision's Resize).
                if width <= height:
                    scaled = self._scaled(image, size, int(size * height / width))
                else:
                    scaled = self._scaled(image, int(size * width / height), size)
                left, top = self._centre(scaled.width), self._centre(scaled.height)
                return scaled.crop((left, top, left + size, top + size))
            case "pad_square":
                edge = max(image.size)
                _require_room(image, edge, edge)
                canvas = self._canvas(image, edge)
                canvas.paste(image, ((edge - image.width) // 2, (edge - image.height) // 2))
                return self._scaled(canvas, size, size)
            case "longest_side_pad":
                # open_clip's ResizeKeepRatio rounds, and CenterCropOrPad puts the odd row after the image.
                ratio = max(image.size) / size
                width, height = (max(1, round(length / ratio)) for length in image.size)
                canvas = self._canvas(image, size)
                canvas.paste(self._scaled(image, width, height), ((size - width) // 2, (size - height) // 2))
                return canvas
            case unknown:
                raise BundleError(
                    f"unknown resize mode {unknown!r}; expected stretch, shortest_side_crop, pad_square, longest_side_pad"
                )

    def _canvas(self, image: Image.Image, edge: int) -> Image.Image:
        return Image.new(image.mode, (edge, edge), (self.settings.pad_value,) * len(image.getbands()))

    def _scaled(self, image: Image.Image, width: int, height: int) -> Image.Image:
        _require_room(image, width, height)
        return image if image.size == (width, height) else image.resize((width, height), self._resampling)

    def _centre(self, length: int) -> int:
        spare = length - self.size
        return spare // 2 if self.settings.crop == "floor" else round(spare / 2)


def _require_room(image: Image.Image, width: int, height: int) -> None:
    if width * height > LIMIT_CANVAS_PIXELS:
        raise ImageTooLarge(
            f"the image is {image.width} x {image.height}, which is too elongated for this model; crop it to the radiograph"
        )
