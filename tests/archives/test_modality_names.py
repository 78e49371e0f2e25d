"""Messages, ledgers and old ledgers name a modality only by a defined term."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import CTImageStorage

from archives.dicom.folder import DicomFolderSource
from archives.dicom.modality_names import name_modality, redact_modality
from ingest.ledger import Ledger
from retrieval.records import Quarantined
from tests.dicom_files import make_dicom

VALUES = ["SMITHJOH", "MEIER", "DOE^JOHN", "19480312", "smithjoh", "MRN12345", "SMITH\\DX", "ANNA"]


@pytest.mark.parametrize("value", VALUES)
def test_a_free_text_modality_reaches_no_message(value: str, tmp_path: Path) -> None:
    (tmp_path / "1.dcm").write_bytes(make_dicom(Modality=value, SOPClassUID=CTImageStorage))
    (found,) = DicomFolderSource(tmp_path, dataset="d", salt=b"s" * 32)
    assert isinstance(found, Quarantined)
    assert found.code == "wrong_modality"
    assert found.detail == "1.dcm is of an unknown modality; accepted are CR, DX, RG"


@pytest.mark.parametrize("value", ["CT", "MR", "US", "OT", "MG", "XA"])
def test_a_defined_modality_is_named(value: str) -> None:
    assert name_modality(value) == value
    assert redact_modality(f"a.dcm is {value}; taken are CR, DX, RG") == f"a.dcm is {value}; taken are CR, DX, RG"


@given(st.text(alphabet=st.characters(categories=["Lu", "Ll", "Nd"]), min_size=1, max_size=16))
def test_any_other_text_is_never_shown(value: str) -> None:
    assert name_modality(value) in ("of an unknown modality", value)
    assert name_modality(value) != value or len(value) <= 10
    if name_modality(value) != value:
        message = redact_modality(f"x/1.dcm is {value}; taken are CR, DX, RG")
        assert message == "x/1.dcm is of an unknown modality; taken are CR, DX, RG"


def test_an_old_ledger_is_rid_of_such_values_for_good(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    details = {
        "1.dcm": "1.dcm is SMITHJOH; taken are CR",
        "2.dcm": "2.dcm is CT; taken are CR",
        "3.dcm": "3.dcm is CR; x",
    }
    items = [Quarantined(name, "wrong_modality", detail) for name, detail in details.items()]
    with Ledger(path) as ledger:
        run = ledger.begin("d", "1/1", None, "2026-01-01T00:00:00+00:00")
        ledger.quarantine(run, "d", items)
        listed = [{"file": item.file, "code": item.code, "detail": item.detail} for item in items]
        ledger.end(run, "2026-01-01T00:00:01+00:00", {"quarantined": listed, "indexed": 3})
    with Ledger(path, readonly=True) as ledger:  # `cxr ingest status` only reads
        assert "SMITHJOH" not in str([*ledger.quarantined(), *ledger.runs()])
    with Ledger(path) as ledger:
        told = {item.file: item.detail for item in ledger.quarantined("d")}
        assert told == details | {"1.dcm": "1.dcm is of an unknown modality; taken are CR"}
        (summary,) = [each.summary for each in ledger.runs()]
        assert summary is not None
        assert summary["indexed"] == 3
        assert "SMITHJOH" not in json.dumps(summary)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert not [file for file in tmp_path.iterdir() if b"SMITHJOH" in file.read_bytes()]
