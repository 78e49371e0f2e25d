"""The DICOM conformance page says what the code reads."""

from __future__ import annotations

from pydicom.datadict import keyword_for_tag

from archives.dicom.header_scan import HEADER_TAGS, RADIOGRAPHY
from retrieval.imaging.dicom.image import PIXEL_TAGS
from tests.docs.markdown import ROOT

PAGE = (ROOT / "docs" / "explanation" / "dicom-conformance.md").read_text(encoding="utf-8")


def test_the_page_lists_every_tag_that_is_read() -> None:
    keywords = {keyword_for_tag(tag) for tag in (*HEADER_TAGS, *PIXEL_TAGS)}
    palettes = {keyword for keyword in keywords if "Palette" in keyword}
    assert len(palettes) == 6
    assert not {keyword for keyword in keywords - palettes if keyword not in PAGE}


def test_the_page_lists_every_modality_that_is_taken() -> None:
    assert all(f"`{modality}`" in PAGE for modality in RADIOGRAPHY)
