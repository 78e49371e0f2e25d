"""A folder of DICOM files whose identifying elements must never come out of the source."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    BasicTextSRStorage,
)

from archives.dicom.folder import DicomFolderSource
from archives.dicom.pseudonyms import hash_uid
from retrieval.records import Quarantined, Study
from tests.dicom_files import BIRTH_DATE, PATIENT, PATIENT_ID, encode_dataset, make_dataset, make_dicom

SALT = bytes(range(32))
PIXELS = np.arange(12, dtype=np.uint16).reshape(3, 4)
ACCESSION = "ACC-90210"
STUDY_DATE = "20240229"


class DicomTree:
    """A folder of DICOM files; every file holds identifying elements that must never come out of the source."""

    def __init__(self, root: Path) -> None:
        self.root = root / "tree"
        self.root.mkdir()
        self.table: Path | None = None

    def add(self, name: str, content: bytes | None = None, **elements: Any) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        defaults = {"StudyInstanceUID": "1.2.3", "SOPInstanceUID": f"1.2.3.{zlib.crc32(name.encode())}"}
        defaults |= {"StudyDate": STUDY_DATE, "AccessionNumber": ACCESSION, "InstitutionName": PATIENT}
        path.write_bytes(content if content is not None else make_dicom(PIXELS, **defaults | elements))

    def reports(self, text: str) -> None:
        self.table = self.root.parent / "reports.csv"
        self.table.write_text(text)

    def source(self, **options: Any) -> DicomFolderSource:
        return DicomFolderSource(self.root, dataset="ward", salt=SALT, reports_csv=self.table, **options)

    def read(self) -> tuple[list[Study], list[tuple[str, str]]]:
        records = list(self.source())
        everything = repr(records)
        for secret in (PATIENT, PATIENT_ID, BIRTH_DATE, STUDY_DATE, ACCESSION, "1.2.3"):
            assert secret not in everything
        quarantined = [(record.file, record.code) for record in records if isinstance(record, Quarantined)]
        return [record for record in records if isinstance(record, Study)], quarantined


def structured_report(items: list[Dataset], **elements: Any) -> bytes:
    defaults = {"SOPClassUID": BasicTextSRStorage, "Modality": "SR", "StudyInstanceUID": "1.2.3"}
    dataset = make_dataset(None, **defaults | elements)
    dataset.ContentSequence = Sequence(items)
    return encode_dataset(dataset)


def item(
    kind: str,
    name: tuple[str, str] | None = None,
    text: str = "",
    children: list[Dataset] | None = None,
    relation: str = "CONTAINS",
) -> Dataset:
    found = Dataset()
    found.RelationshipType = relation
    found.ValueType = kind
    if name:
        code = Dataset()
        code.CodeValue, code.CodeMeaning = name
        code.CodingSchemeDesignator = "DCM"
        found.ConceptNameCodeSequence = Sequence([code])
    if kind == "TEXT":
        found.TextValue = text
    if children is not None:
        found.ContentSequence = Sequence(children)
    return found


def section(name: str, text: str, code: str = "99") -> Dataset:
    return item("CONTAINER", (code, name), children=[item("TEXT", ("99", "Text"), text)])


BIG = "Large left pneumothorax."


class Ward(DicomTree):
    """A tree of studies 1.2.3.1, 1.2.3.2, ... and their reports."""

    def film(self, study: int, accession: str | None = None, **elements: Any) -> None:
        uid = {
            "StudyInstanceUID": f"1.2.3.{study}",
            "SOPInstanceUID": f"1.2.3.{study}.{len(list(self.root.rglob('*')))}",
        }
        name = f"{study}/film{len(list(self.root.rglob('*')))}"
        self.add(name, **uid | {"AccessionNumber": accession} | elements)

    def sr(self, study: int | None, text: str = BIG, accession: str | None = None, **elements: Any) -> str:
        name = f"sr{len(list(self.root.rglob('*'))):03}"
        uid = f"1.2.3.{study}" if study else None
        content = [section("Findings", text)]
        self.add(name, structured_report(content, StudyInstanceUID=uid, AccessionNumber=accession, **elements))
        return name

    def texts(self) -> dict[int, str]:
        """Findings by study; no record contains an accession number or a UID."""
        studies = {hash_uid(SALT, f"1.2.3.{number}"): number for number in range(1, 9)}
        return {studies[study.study_id]: study.report.findings for study in self.read()[0]}

    def listed(self) -> list[tuple[str, str]]:
        return self.read()[1]

    def notes(self) -> list[str]:
        return sorted({note for study in self.read()[0] for note in study.notes})
