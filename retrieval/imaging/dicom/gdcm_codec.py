"""JPEG Lossless and JPEG-LS frames, decoded by GDCM. Damaged data can crash the process.

So untrusted data are decoded in separate processes only (`retrieval.imaging.decoder_pool`).
"""

from __future__ import annotations

from typing import Any

from retrieval.imaging.dicom.codestream import Codestream
from retrieval.imaging.dicom.extras import load_gdcm


def decode_by_gdcm(frame: bytes, codestream: Codestream, transfer_syntax: str) -> bytes | None:
    """The samples of `frame`: little-endian, 1 or 2 bytes each, colour by pixel. None if GDCM cannot decode it.

    Raises:
        MissingExtra: python-gdcm is not installed.
    """
    gdcm = load_gdcm()
    try:
        return _decode(gdcm, frame, codestream, transfer_syntax) or None
    except Exception:  # SWIG passes on any C++ exception
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
    # GDCM must not convert colours: the caller does.
    kind = gdcm.PhotometricInterpretation.MONOCHROME2 if codestream.samples == 1 else gdcm.PhotometricInterpretation.RGB
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    if codestream.samples > 1:
        image.SetPlanarConfiguration(0)
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(transfer_syntax)))
    allocated, stored = 8 if codestream.precision <= 8 else 16, codestream.precision
    image.SetPixelFormat(gdcm.PixelFormat(codestream.samples, allocated, stored, stored - 1, 0))
    decoded: bytes = image.GetBuffer().encode("utf-8", "surrogateescape")
    return decoded
