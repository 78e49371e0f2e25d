"""Image preprocessing of a model, as recorded in the manifest of its bundle."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Triple = tuple[float, float, float]


class Preprocessing(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Steps from an RGB image to `pixel_values`: resize to `size` x `size`, scale to 0..1, subtract mean, divide by std.

    `stretch` ignores the aspect ratio. `shortest_side_crop` scales the shorter side to `size` and crops the centre.
    `pad_square` pads to a square with `pad_value` (0..255), the image centred, then scales. `longest_side_pad` scales the
    longer side to `size`, then pads. `crop` rounds the offset of a centre between two rows: `floor` as in transformers,
    `round` (to even) as in torchvision and open_clip.
    """

    mode: Literal["stretch", "shortest_side_crop", "pad_square", "longest_side_pad"]
    size: Annotated[int, msgspec.Meta(gt=0)]
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"]
    mean: Triple
    std: Triple
    pad_value: Annotated[int, msgspec.Meta(ge=0, le=255)] = 0
    crop: Literal["floor", "round"] = "floor"
