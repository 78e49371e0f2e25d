"""Many bad files among good ones: each good file is indexed, each bad file is named, and the run completes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import RLELossless

from retrieval.errors import ImageError
from retrieval.imaging.decode import decode_image
from tests.dicom_files import BIRTH_DATE, PATIENT, PATIENT_ID, SYNTAXES, make_dicom
from tests.ingest.bad_files import STORED, dicom_files, encoded, pictures, pydicom_files

LIMIT_BYTES = 1_200 * 1024 * 1024
"""Largest allowed memory of the process. Libraries take a quarter of it; some of the files claim gigabytes."""

PICTURES = pictures()
DICOM = dicom_files() | pydicom_files()


def good_pictures() -> dict[str, bytes]:
    return {
        "zz-good.png": encoded("PNG"),
        "good.png": encoded("PNG", Image.fromarray(STORED)),
        "good.jpg": encoded("JPEG"),
        "n/good.webp": encoded("WEBP"),
        "png-in-truth.jpg": encoded("PNG", Image.linear_gradient("L").resize((30, 30))),
    }


def good_dicom() -> dict[str, bytes]:
    files = {f"good{number}": make_dicom(STORED, syntax=syntax) for number, syntax in enumerate(SYNTAXES)}
    files["zz/good.dcm"] = make_dicom(STORED, PhotometricInterpretation="MONOCHROME1", Modality="DX")
    files["good-without-preamble"] = make_dicom(STORED)[132:]
    return files


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The result of a separate process for all files."""
    home = tmp_path_factory.mktemp("hostile")
    write(home / "pictures", good_pictures() | {name: content for name, (content, _) in PICTURES.items()})
    write(home / "tree", good_dicom() | {name: content for name, (content, _) in DICOM.items()})
    twin = (home / "tree" / "good0").read_bytes()
    write(home / "tree", {"good0-twin": twin})
    (home / "tree" / "link-out").symlink_to("/etc/hostname")
    (home / "pictures" / "link-out.png").symlink_to("/etc/hostname")
    command = [sys.executable, "-W", "error", "-m", "tests.ingest.hostile_run"]
    done = subprocess.run(
        [*command, str(home), str(home / "pictures"), str(home / "tree")],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    document["said"] = done.stdout + done.stderr
    return document


def test_there_are_many_different_bad_files_of_every_kind() -> None:
    contents = {content for content, _ in (PICTURES | DICOM).values()}
    assert len(contents) >= 60
    kinds = {code for _, code in (PICTURES | DICOM).values()}
    assert len(kinds) >= 12


def test_every_bad_picture_is_named_with_its_code_and_every_good_one_indexed(result: dict[str, Any]) -> None:
    found = result["pictures"]
    expected = {name: code for name, (_, code) in PICTURES.items()} | {"link-out.png": "path_outside"}
    assert {name: code for name, (code, _) in found["quarantined"].items()} == expected
    assert found["indexed"] == found["points"] == len(good_pictures())


def test_every_bad_dicom_file_is_named_with_its_code_and_every_good_one_indexed(result: dict[str, Any]) -> None:
    found = result["dicom"]
    expected = {name: code for name, (_, code) in DICOM.items()}
    expected |= {"good0-twin": "duplicate_id", "link-out": "path_outside"}
    assert {name: code for name, (code, _) in found["quarantined"].items()} == expected
    assert found["indexed"] == found["points"] == len(good_dicom())


def test_every_detail_names_its_file(result: dict[str, Any]) -> None:
    for name, (code, detail) in {**result["pictures"]["quarantined"], **result["dicom"]["quarantined"]}.items():
        assert Path(name).name in detail, (code, detail)


def test_memory_stays_bounded(result: dict[str, Any]) -> None:
    assert result["peak_bytes"] < LIMIT_BYTES


def test_nothing_that_names_a_patient_is_said(result: dict[str, Any]) -> None:
    for secret in (PATIENT, PATIENT_ID, BIRTH_DATE):
        assert secret not in result["said"]


@pytest.mark.parametrize(("name", "file"), PICTURES.items(), ids=PICTURES)
def test_a_bad_picture_is_an_image_error_with_its_code(name: str, file: tuple[bytes, str]) -> None:
    content, code = file
    with pytest.raises(ImageError) as caught:
        decode_image(content, name=name)
    assert caught.value.code == code
    assert name in str(caught.value)


def test_the_good_files_are_good() -> None:
    for content in (good_pictures() | good_dicom()).values():
        assert np.asarray(decode_image(content)).size
    assert RLELossless in SYNTAXES
