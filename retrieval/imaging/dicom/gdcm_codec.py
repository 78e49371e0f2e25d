"""JPEG Lossless and JPEG-LS, decoded by GDCM in this process, which damaged data may end.

Only decoding processes (`retrieval.imaging.decoder_pool`) meet data that nobody vouches for.
"""

from __future__ import annotations

from typing import Any

from retrieval.errors import MissingExtra
from retrieval.imaging.dicom.codestream import Codestream


def decode_by_gdcm(frame: bytes, codestream: Codestream, transfer_syntax: str) -> bytes | None:
    """The samples of `frame`, little-endian, 1 or 2 bytes each, colour by pixel; None where it cannot be decoded.

    Raises:
        MissingExtra: python-gdcm is not installed.
    """
    try:
        import gdcm  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        raise MissingExtra(
            "JPEG Lossless and JPEG-LS need python-gdcm; install it with: pip install 'cxr-retrieval[dicom]'"
        ) from None
    try:
        return _decode(gdcm, frame, codestream, transfer_syntax) or None
    except Exception:  # SWIG raises what C++ throws
        return None


def _decode(gdcm: Any, frame: bytes, codestream: Codestream, transfer_syntax: str) -> bytes:
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((codestream.columns, codestream.rows, 1))
    image.SetDataElement(element)
    # The samples as they are: what the colours mean is for the caller.
    kind = gdcm.PhotometricInterpretation.MONOCHROME2 if codestream.samples == 1 else gdcm.PhotometricInterpretation.RGB
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    if codestream.samples > 1:
        image.SetPlanarConfiguration(0)
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(transfer_syntax)))
    allocated, stored = 8 if codestream.precision <= 8 else 16, codestream.precision
    image.SetPixelFormat(gdcm.PixelFormat(codestream.samples, allocated, stored, stored - 1, 0))
    decoded: bytes = image.GetBuffer().encode("utf-8", "surrogateescape")
    return decoded
