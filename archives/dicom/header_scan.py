"""Scans the header of one DICOM file: reads a few tags and hashes every UID."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from archives.dicom.modality_names import name_modality
from archives.dicom.pseudonyms import hash_uid
from archives.dicom.structured_report_text import StructuredText, read_structured_report
from archives.tables.cells import is_dummy, is_missing
from archives.views import view_of_header
from retrieval.errors import EmptyFile, ImageTooLarge, UnreadableImage, WrongModality, WrongType
from retrieval.imaging.decode import LIMIT_BYTES
from retrieval.imaging.dicom.header import Header, items_of, read_header, text_of
from retrieval.imaging.signatures import HEAD_BYTES, is_dicom
from retrieval.records import Report, View

RADIOGRAPHY = ("CR", "DX", "RG")
"""Computed, digital and film radiography. Secondary captures (OT, SC) are not accepted: many are screenshots, scanned paper
or dose sheets, with names in their pixels."""

HEADER_TAGS = (
    0x00080005,  # SpecificCharacterSet
    0x00080016,  # SOPClassUID
    0x00080018,  # SOPInstanceUID, hashed
    0x00080050,  # AccessionNumber, to match the report, then dropped
    0x00080060,  # Modality
    0x0008103E,  # SeriesDescription, to find the view
    0x00181030,  # ProtocolName, likewise
    0x00185101,  # ViewPosition
    0x0020000D,  # StudyInstanceUID, hashed
    0x0020000E,  # SeriesInstanceUID, hashed
    0x0040A043,  # ConceptNameCodeSequence, the title of a report
    0x0040A493,  # VerificationFlag
    0x0040A730,  # ContentSequence
    0x00540220,  # ViewCodeSequence
)
"""The only elements that are read. None of them contains the patient's name or a date."""

# Some public collections have removed the modality. Then the storage class must be one of a radiograph.
_RADIOGRAPH_CLASSES = frozenset(
    {
        "",
        "1.2.840.10008.5.1.4.1.1.1",  # computed radiography
        "1.2.840.10008.5.1.4.1.1.1.1",  # digital X-ray, for presentation
        "1.2.840.10008.5.1.4.1.1.1.1.1",  # and for processing
        "1.2.840.10008.5.1.4.1.1.7",  # secondary capture, used by collections that were made from PNG or JPEG files
    }
)
# Objects that accompany images: directory, presentation states, structured reports, key objects, encapsulated documents.
_COMPANION_CLASSES = re.compile(r"1\.2\.840\.10008\.(1\.3\.10$|5\.1\.4\.1\.1\.(11|88|104)\.)")
# Structured reports that no radiologist wrote: dose, computer-aided detection, procedure logs, measurements. Accepted are
# the classes for text (basic, enhanced, comprehensive, extensible, and their trial versions) and private classes.
_OTHER_REPORTS = re.compile(r"1\.2\.840\.10008\.5\.1\.4\.1\.1\.(?!88\.(?:1|3|4|11|22|33|34|35)$)")
# Titles of such reports in older files, which use a class for text: PS3.16 TID 10001, 10011, 4000, 4100, 3001.
_OTHER_TITLES = frozenset({"113701", "113500", "111036", "112000", "121120"})
_COMPANION_MODALITIES = frozenset({"PR", "KO", "SR", "DOC"})


@dataclass(frozen=True, slots=True)
class ScannedImage:
    """A radiograph."""

    study_id: str
    image_id: str
    accession: str
    view: View


@dataclass(frozen=True, slots=True)
class ScannedReport:
    """A structured report with text."""

    study_id: str
    accession: str
    is_verified: bool
    text: StructuredText


@dataclass(frozen=True, slots=True)
class ScannedOther:
    """A companion object without text; or, with a `refusal`, an image that is not a radiograph."""

    study_id: str
    accession: str
    refusal: WrongModality | None = None


def scan_file(path: Path, name: str, salt: bytes) -> ScannedImage | ScannedReport | ScannedOther:
    """Scan the header of the file at `path`; messages call it `name`.

    Ids are HMACs of the UIDs with `salt`. If a study UID is missing or a dummy, the series UID is used, then `name`. If an
    image UID is missing or a dummy, `name` is used.

    Raises:
        EmptyFile, WrongType, ImageTooLarge, UnreadableImage, TruncatedImage: the file cannot be read or is not DICOM.
    """
    try:
        size = os.stat(path).st_size
        if size == 0:
            raise EmptyFile(f"{name} is empty (0 bytes)")
        with path.open("rb") as file:
            if not is_dicom(file.read(HEAD_BYTES)):
                raise WrongType(f"{name} is not DICOM")
            if size > LIMIT_BYTES:
                raise ImageTooLarge(f"{name} has {size:,} bytes; at most {LIMIT_BYTES:,} are accepted")
            file.seek(0)
            header = read_header(file, size, HEADER_TAGS, name=name)
    except OSError as error:
        raise UnreadableImage(f"{name} cannot be read: {error.strerror}") from error
    return _scan(header, name, salt)


def _scan(header: Header, name: str, salt: bytes) -> ScannedImage | ScannedReport | ScannedOther:
    modality = header.text("Modality").upper()
    study = _uid(header, "StudyInstanceUID") or _uid(header, "SeriesInstanceUID")
    study_id = hash_uid(salt, study or f"file {name}")
    accession = header.text("AccessionNumber")
    if _COMPANION_CLASSES.match(header.storage_class) or modality in _COMPANION_MODALITIES:
        title = items_of(header.dataset, "ConceptNameCodeSequence")
        if _OTHER_REPORTS.match(header.storage_class) or any(
            text_of(each, "CodeValue") in _OTHER_TITLES for each in title
        ):
            return ScannedOther(study_id, accession)
        text = read_structured_report(items_of(header.dataset, "ContentSequence"), title)
        if text.report == Report():
            return ScannedOther(study_id, accession)
        is_verified = header.text("VerificationFlag").upper() == "VERIFIED"
        return ScannedReport(study_id, accession, is_verified, text)
    try:
        _require_radiograph(modality, header.storage_class, name)
    except WrongModality as error:
        return ScannedOther(study_id, accession, error)
    image = _uid(header, "SOPInstanceUID")
    return ScannedImage(study_id, hash_uid(salt, image or f"file {name}"), accession, _view(header))


def _uid(header: Header, keyword: str) -> str:
    """A UID. It is empty for a dummy (`ANON`, `0`), which would merge many studies into one."""
    uid = header.text(keyword)
    return "" if is_missing(uid) or is_dummy(uid) else uid


def _require_radiograph(modality: str, storage_class: str, name: str) -> None:
    if modality in RADIOGRAPHY or (not modality and storage_class in _RADIOGRAPH_CLASSES):
        return
    raise WrongModality(f"{name} is {name_modality(modality)}; accepted are {', '.join(RADIOGRAPHY)}")


def _view(header: Header) -> View:
    codes = [
        (text_of(code, "CodeValue"), text_of(code, "CodeMeaning"))
        for code in items_of(header.dataset, "ViewCodeSequence")
    ]
    descriptions = (header.text("SeriesDescription"), header.text("ProtocolName"))
    return view_of_header(header.text("ViewPosition"), codes, descriptions)
