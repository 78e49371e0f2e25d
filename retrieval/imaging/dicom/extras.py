"""The functions of pydicom and python-gdcm that are used here.

Both are optional extras, so they are imported inside these functions, and nowhere else in `retrieval`.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import MissingExtra

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_INSTALL = "Install the extra with: pip install 'cxr-retrieval[dicom]'"


def require_pydicom() -> None:
    """Import pydicom, and set it to read values without validation and to log none.

    Raises:
        MissingExtra: pydicom is not installed.
    """
    try:
        from pydicom import config
    except ImportError:
        raise MissingExtra(
            f"reading DICOM needs pydicom and python-gdcm, which are not installed. {_INSTALL}"
        ) from None
    config.settings.reading_validation_mode = config.IGNORE
    logging.getLogger("pydicom").propagate = False  # its messages quote values


def load_gdcm() -> Any:
    """The module gdcm.

    Raises:
        MissingExtra: python-gdcm is not installed.
    """
    try:
        import gdcm  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        raise MissingExtra(f"JPEG Lossless and JPEG-LS need python-gdcm, which is not installed. {_INSTALL}") from None
    return gdcm


def read_file_meta(stream: Any) -> Dataset:
    """The File Meta Information (PS3.10 7.1) at the position of `stream`; an empty data set if there is none."""
    from pydicom.filereader import _read_file_meta_info

    # `pydicom.dcmread` would inflate a deflated file without a limit, so its parts are used.
    return _read_file_meta_info(stream)


def read_elements(stream: Any, tags: Collection[int], *, is_implicit: bool, is_little_endian: bool) -> Dataset:
    """The elements `tags` before the pixel data; `stream` is then at the pixel data, or at its end."""
    from pydicom.filereader import _at_pixel_data, read_dataset
    from pydicom.tag import Tag

    return read_dataset(
        stream,
        is_implicit,
        is_little_endian,
        stop_when=_at_pixel_data,
        specific_tags=[Tag(tag) for tag in tags],
    )


def items_of_sequence(value: Any) -> list[Dataset]:
    """The items of the value of a sequence element (VR SQ); empty for any other value."""
    from pydicom.sequence import Sequence

    return list(value) if isinstance(value, Sequence) else []


def is_multi_value(value: Any) -> bool:
    """Whether an element has several values (PS3.5 6.4)."""
    from pydicom.multival import MultiValue

    return isinstance(value, MultiValue | list | tuple)


def decode_frame(data: bytes, transfer_syntax: str, options: dict[str, Any], *, is_compressed: bool) -> NDArray[Any]:
    """The samples of one frame, colours as RGB (PS3.3 C.7.6.3.1.2). pydicom decodes, with the codecs of Pillow."""
    from pydicom.encaps import encapsulate
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    if is_compressed:
        data = encapsulate([data], has_bot=False)
        options = options | {"decoding_plugin": "pillow"}
    samples, _ = get_decoder(UID(transfer_syntax)).as_array(data, index=0, **options)
    return samples


def ybr_to_rgb(samples: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """YBR_FULL samples [rows, columns, 3] as RGB (PS3.3 C.7.6.3.1.2)."""
    from pydicom.pixels.processing import convert_color_space

    return convert_color_space(samples, "YBR_FULL", "RGB")
