"""One radiograph in many pixel formats of archives: image files and DICOM, valid and contradictory."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

Film = NDArray[np.uint8]
Form = Callable[[Film], bytes]

_DX = "1.2.840.10008.5.1.4.1.1.1.1"
_RAMP = np.arange(4096)
# By colour type (PNG 11.2.1).
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}


def encoded(film: NDArray[Any], kind: str = "PNG", mode: str | None = None, **options: Any) -> bytes:
    """The bytes of an image file, written by Pillow."""
    buffer = io.BytesIO()
    image = Image.fromarray(film)
    (image.convert(mode) if mode else image).save(buffer, kind, **options)
    return buffer.getvalue()


def png16(samples: NDArray[Any], significant_bits: int | None = None) -> bytes:
    """A 16-bit PNG of `samples` [rows, columns] or [rows, columns, channels], with an sBIT chunk if `bits` is given."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    channels = 1 if samples.ndim == 2 else samples.shape[2]
    header = struct.pack(">IIBBBBB", samples.shape[1], samples.shape[0], 16, _COLOUR_TYPES[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    significant = chunk(b"sBIT", bytes([significant_bits] * channels)) if significant_bits else b""
    body = chunk(b"IHDR", header) + significant + chunk(b"IDAT", zlib.compress(rows, 3)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def with_alpha(film: Film, alpha: Any, grey: Any = None) -> bytes:
    """An RGBA PNG; `grey` replaces the grey levels of the film."""
    shades = film if grey is None else np.full_like(film, grey)
    return encoded(np.dstack([shades] * 3 + [np.broadcast_to(np.asarray(alpha, np.uint8), film.shape)]))


def twelve(film: Film) -> NDArray[np.uint16]:
    """The film in 12 bits."""
    scaled: NDArray[np.uint16] = np.rint(film * (4095 / 255)).astype(np.uint16)
    return scaled


def dicom(stored: NDArray[Any], *, frame: bytes = b"", syntax: str = ExplicitVRLittleEndian, **header: Any) -> bytes:
    """A DICOM radiograph with the pixels `stored` or the compressed `frame`; 12 bits and no window by default."""
    item = Dataset()
    item.file_meta = FileMetaDataset()
    item.file_meta.TransferSyntaxUID = UID(syntax)
    item.file_meta.MediaStorageSOPClassUID = item.SOPClassUID = UID(_DX)
    item.file_meta.MediaStorageSOPInstanceUID = item.SOPInstanceUID = UID("2.25.1")
    item.Modality, item.StudyInstanceUID, item.SeriesInstanceUID = "DX", "2.25.2", "2.25.3"
    item.SamplesPerPixel, item.PhotometricInterpretation, item.PixelRepresentation = 1, "MONOCHROME2", 0
    item.Rows, item.Columns = stored.shape[:2]
    item.BitsAllocated, item.BitsStored, item.HighBit = 16, 12, 11
    for keyword, value in header.items():
        setattr(item, keyword, value)
    item.PixelData = encapsulate([frame]) if frame else stored.tobytes()
    item["PixelData"].VR = "OB" if frame else "OW"
    item["PixelData"].is_undefined_length = bool(frame)
    buffer = io.BytesIO()
    item.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def table(entries: NDArray[Any], bits: int, *, count: int | None = None, first: int = 0) -> Sequence:
    """A LUT Sequence whose descriptor says `count` entries of `bits` bits."""
    item = Dataset()
    item.add_new(0x00283002, "US", [(len(entries) if count is None else count) % 65536, first, bits])
    item.add_new(0x00283006, "OW", np.asarray(entries, "<u2").tobytes())
    return Sequence([item])


def window(centre: float, width: float) -> dict[str, Any]:
    """The elements of a window."""
    return {"WindowCenter": f"{centre:g}", "WindowWidth": f"{width:g}"}


def run_length(film: Film) -> bytes:
    """An RLE frame of one segment of literal runs (PS3.5 annex G)."""
    octets = film.tobytes().ljust(-(-film.size // 128) * 128, b"\0")
    runs = b"".join(b"\x7f" + octets[start : start + 128] for start in range(0, len(octets), 128))
    return struct.pack("<16I", 1, 64, *[0] * 14) + runs + b"\0" * (len(runs) % 2)


def under_sigmoid(film: Film) -> NDArray[np.uint16]:
    """The values that a sigmoid window of 2048 and 1024 shows as the film (PS3.3 C.11.2.1.3.1)."""
    share = np.clip(film / 255.0, 0.002, 0.998)
    return np.rint(2048 + 1024 / 4 * np.log(share / (1 - share))).astype(np.uint16)


def decimal_comma(film: Film) -> bytes:
    """A window and a rescale with decimal commas."""
    header: dict[str, Any] = {
        "RescaleSlope": "0.50",
        "RescaleIntercept": "0.25",
        "WindowCenter": "1024.25",
        "WindowWidth": "2048.50",
    }
    data = dicom(twelve(film), **header)
    for number in header.values():
        data = data.replace(number.encode(), number.replace(".", ",").encode())
    return data


WHOLE: dict[str, Any] = window(2048, 4096)
EIGHT_STORED: dict[str, Any] = {"BitsStored": 8, "HighBit": 7, **window(128, 256)}

PICTURES: dict[str, Form] = {
    "PNG, 8 bits": encoded,
    "PNG, 16 bits, all used": lambda film: png16(film * 257.0),
    "PNG, 16 bits, 14 used": lambda film: png16(twelve(film) * 4),
    "PNG, 16 bits, 12 used": lambda film: png16(twelve(film)),
    "PNG, 16 bits, 10 used": lambda film: png16(twelve(film) // 4),
    "PNG, 16 bits, 8 used": png16,
    "PNG, 16 bits, 4,200 to 18,500": lambda film: png16(4200 + film * (14300 / 255)),
    "PNG, 16 bits, 40,000 to 41,176": lambda film: png16(40000 + film * (1176 / 255)),
    "PNG, 16 bits, 0 to 40,000": lambda film: png16(film * (40000 / 255)),
    "PNG, 12 bits by sBIT": lambda film: png16(twelve(film), 12),
    "PNG, 12 bits by sBIT, scaled": lambda film: png16(twelve(film) * 16.0 + twelve(film) // 256, 12),
    "PNG, RGB of 16 bits, 12 used": lambda film: png16(np.dstack([twelve(film)] * 3)),
    "PNG, grey and alpha of 16 bits, 12 used": lambda film: png16(
        np.dstack([twelve(film), np.full(film.shape, 65535)])
    ),
    "PNG, RGBA of 16 bits, 12 used": lambda film: png16(np.dstack([*[twelve(film)] * 3, np.full(film.shape, 65535)])),
    "PNG, alpha 0": lambda film: with_alpha(film, 0),
    "PNG, alpha 10": lambda film: with_alpha(film, 10),
    "PNG, alpha 0 but for a corner": lambda film: with_alpha(film, np.pad(np.full((9, 9), 255), (0, len(film) - 9))),
    "PNG, film in the alpha of white": lambda film: with_alpha(film, film, 255),
    "PNG, negative in the alpha of black": lambda film: with_alpha(film, 255 - film, 0),
    "PNG, palette": lambda film: encoded(film, mode="P"),
    "JPEG, CMYK": lambda film: encoded(film, "JPEG", mode="CMYK", quality=95),
}
SOUND: dict[str, Form] = {
    "window": lambda film: dicom(twelve(film), **WHOLE),
    "no window": lambda film: dicom(twelve(film)),
    "MONOCHROME1": lambda film: dicom(4095 - twelve(film), PhotometricInterpretation="MONOCHROME1", **WHOLE),
    "VOI LUT": lambda film: dicom(twelve(film), VOILUTSequence=table(_RAMP, 12)),
    "SIGMOID": lambda film: dicom(under_sigmoid(film), VOILUTFunction="SIGMOID", **window(2048, 1024)),
}
CONTRADICTIONS: dict[str, Form] = {
    "VOI LUT of 12 bits, said 16": lambda film: dicom(twelve(film), VOILUTSequence=table(_RAMP, 16)),
    "VOI LUT of 12 bits, said 16, MONOCHROME1": lambda film: dicom(
        4095 - twelve(film), PhotometricInterpretation="MONOCHROME1", VOILUTSequence=table(_RAMP, 16)
    ),
    "VOI LUT of 8 bits, said 16": lambda film: dicom(twelve(film), VOILUTSequence=table(_RAMP // 16, 16)),
    "VOI LUT of 16 bits, said 12": lambda film: dicom(twelve(film), VOILUTSequence=table(_RAMP * 16, 12)),
    "VOI LUT of 16 bits, said 8": lambda film: dicom(twelve(film), VOILUTSequence=table(_RAMP * 16, 8)),
    "VOI LUT of 4,096 entries, said 256": lambda film: dicom(twelve(film), VOILUTSequence=table(_RAMP, 12, count=256)),
    "VOI LUT from 61,440": lambda film: dicom(twelve(film), VOILUTSequence=table(61440 + _RAMP, 16)),
    "VOI LUT of one value": lambda film: dicom(twelve(film), VOILUTSequence=table(_RAMP * 0 + 9, 16), **WHOLE),
    "window of 16 bits": lambda film: dicom(twelve(film), **window(32768, 65536)),
    "window of 8 bits": lambda film: dicom(twelve(film), **window(128, 256)),
    "window above the values": lambda film: dicom(twelve(film), **window(20000, 400)),
    "window below the values": lambda film: dicom(twelve(film), **window(-3000, 400)),
    "window width 0": lambda film: dicom(twelve(film), **window(2048, 0)),
    "decimal commas": decimal_comma,
    "rescale slope 0": lambda film: dicom(twelve(film), RescaleSlope="0", RescaleIntercept="0", **WHOLE),
    "Modality LUT of one value": lambda film: dicom(
        twelve(film), ModalityLUTSequence=table(_RAMP * 0 + 7, 16), **WHOLE
    ),
    "HighBit 15 over the lower 12 bits": lambda film: dicom(twelve(film), HighBit=15, **WHOLE),
    "HighBit 7, BitsStored 12": lambda film: dicom(twelve(film), HighBit=7, **WHOLE),
    "BitsStored 10 over 12 bits": lambda film: dicom(twelve(film), BitsStored=10, HighBit=9, **WHOLE),
    "BitsStored 17": lambda film: dicom(twelve(film), BitsStored=17, HighBit=16, **WHOLE),
    "BitsAllocated 8, BitsStored 12": lambda film: dicom(twelve(film), BitsAllocated=8, **WHOLE),
    "PixelRepresentation 1 over unsigned": lambda film: dicom(twelve(film), PixelRepresentation=1, **WHOLE),
    "PixelRepresentation 0 over signed": lambda film: dicom(
        twelve(film).astype(np.int16) - 2048, PixelRepresentation=0, **window(0, 4096)
    ),
    "JPEG of 8 bits, 16 allocated": lambda film: dicom(
        film, frame=encoded(film, "JPEG", quality=95), syntax=JPEGBaseline8Bit, **EIGHT_STORED
    ),
    "JPEG of 8 bits, 12 stored": lambda film: dicom(
        film, frame=encoded(film, "JPEG", quality=95), syntax=JPEGBaseline8Bit, **WHOLE
    ),
    "JPEG 2000 of 8 bits, 12 stored": lambda film: dicom(
        film, frame=encoded(film, "JPEG2000", no_jp2=True), syntax=JPEG2000Lossless, **WHOLE
    ),
    "RLE of 8 bits, 16 allocated": lambda film: dicom(film, frame=run_length(film), syntax=RLELossless, **EIGHT_STORED),
    "8 bits uncompressed, 16 allocated": lambda film: dicom(film, **EIGHT_STORED),
}
FORMS: dict[str, Form] = (
    PICTURES
    | {f"DICOM, {name}": form for name, form in SOUND.items()}
    | {f"DICOM, {name}": form for name, form in CONTRADICTIONS.items()}
)
"""Every form, by name. A viewer shows the same film for each."""
