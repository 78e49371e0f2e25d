"""Pads images to a square with black margins before the processor's resize."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from exporters.checkpoints.checkpoint import Checkpoint
from retrieval.errors import ExportError


def with_square_padding(checkpoint: Checkpoint) -> Checkpoint:
    """`checkpoint` with images zero-padded to a square before they are resized, reference included.

    Google's server prepares images for MedSigLIP this way, as in training; the hub's processor stretches them. Google
    resizes with TensorFlow's bilinear filter without antialiasing; here the processor's own filter resizes.

    Raises:
        ExportError: the checkpoint's own processor does not stretch images.
    """
    if checkpoint.preprocessing.mode != "stretch":
        raise ExportError(
            f"--pad-square is for models whose processor stretches; this one uses {checkpoint.preprocessing.mode}"
        )
    stretched = checkpoint.reference_pixels

    def reference_pixels(images: Sequence[Image.Image]) -> NDArray[np.float32]:
        return stretched([_square(image) for image in images])

    preprocessing = msgspec.structs.replace(checkpoint.preprocessing, mode="pad_square", pad_value=0)
    return dataclasses.replace(checkpoint, preprocessing=preprocessing, reference_pixels=reference_pixels)


def _square(image: Image.Image) -> Image.Image:
    pixels = np.asarray(image.convert("RGB"))
    height, width = pixels.shape[:2]
    edge = max(height, width)
    top, left = (edge - height) // 2, (edge - width) // 2
    margins = ((top, edge - height - top), (left, edge - width - left), (0, 0))
    return Image.fromarray(np.pad(pixels, margins))
