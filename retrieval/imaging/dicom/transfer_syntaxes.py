"""UIDs of the transfer syntaxes that are read (PS3.6 annex A), by the way they store pixels."""

IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
DEFLATED_LITTLE_ENDIAN = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG_ENDIAN = "1.2.840.10008.1.2.2"

UNCOMPRESSED = frozenset(
    {"", IMPLICIT_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN, DEFLATED_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN}
)
"""The empty string is a data set without File Meta Information."""

RLE = frozenset({"1.2.840.10008.1.2.5"})
"""RLE Lossless."""

JPEG = frozenset({"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"})
"""JPEG Baseline and Extended. Decoded by Pillow: unlike GDCM, it reports damaged data as an error."""

JPEG_2000 = frozenset({"1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"})
"""JPEG 2000, lossless and lossy. Decoded by Pillow."""

JPEG_LOSSLESS = frozenset(
    {"1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"}
)
"""JPEG Lossless (processes 14 and 14 SV1) and JPEG-LS. Decoded by GDCM."""
