"""A process of its own in which GDCM decodes: damaged JPEG makes that library end the process it runs in.

Run as a program, it answers on stdout what it is asked on stdin, frame by frame, until stdin ends.
"""

from __future__ import annotations

import contextlib
import os
import struct
import sys
from typing import Any

REQUEST = struct.Struct("<32s6I")
"""Transfer syntax UID, rows, columns, samples, bits allocated, bits stored, length of the frame that follows."""

ANSWER = struct.Struct("<I")
"""Length of the samples that follow; 0 where the frame could not be decoded."""

LIMIT_ADDRESS_BYTES = 3 * 1024**3


def decode(gdcm: Any, request: tuple[Any, ...], frame: bytes) -> bytes:
    """The samples of one frame, little-endian, colour by pixel; empty where GDCM gives none."""
    syntax, rows, columns, samples, bits_allocated, bits_stored, _ = request
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((columns, rows, 1))
    image.SetDataElement(element)
    # The samples as they are: what the colours mean is for the caller.
    kind = gdcm.PhotometricInterpretation.MONOCHROME2 if samples == 1 else gdcm.PhotometricInterpretation.RGB
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    if samples > 1:
        image.SetPlanarConfiguration(0)
    kind = gdcm.TransferSyntax.GetTSType(syntax.rstrip(b"\0").decode("ascii"))
    image.SetTransferSyntax(gdcm.TransferSyntax(kind))
    image.SetPixelFormat(gdcm.PixelFormat(samples, bits_allocated, bits_stored, bits_stored - 1, 0))
    decoded: bytes = image.GetBuffer().encode("utf-8", "surrogateescape")
    return decoded


def main() -> None:
    """Answer requests until there are no more."""
    import gdcm  # type: ignore[import-untyped, unused-ignore]

    with contextlib.suppress(ImportError, ValueError, OSError):  # Windows has none; a stricter limit may be set already
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (LIMIT_ADDRESS_BYTES, LIMIT_ADDRESS_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # What GDCM writes to stdout must not come among the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    questions = sys.stdin.buffer
    while len(head := questions.read(REQUEST.size)) == REQUEST.size:
        request = REQUEST.unpack(head)
        frame = questions.read(request[-1])
        try:
            samples = decode(gdcm, request, frame)
        except Exception:
            samples = b""
        answers.write(ANSWER.pack(len(samples)) + samples)
        answers.flush()


if __name__ == "__main__":
    main()
