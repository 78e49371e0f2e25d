"""Pseudonymous ids of DICOM UIDs, and the salt behind them."""

from __future__ import annotations

import hashlib
import hmac
import multiprocessing
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from archives.dicom.pseudonyms import hash_uid, load_salt
from retrieval.errors import SaltDamaged, SystemFailure


def test_the_salt_is_created_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    home = tmp_path / "new" / "home"
    salt = load_salt(home)
    assert len(salt) == 32
    assert load_salt(home) == salt
    assert load_salt(tmp_path / "other") != salt
    assert stat.S_IMODE((home / "salt").stat().st_mode) == 0o600
    assert os.listdir(home) == ["salt"]


def _salt_of(home: Path) -> bytes:
    return load_salt(home)


def test_processes_at_once_get_the_same_salt(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        salts = set(pool.map(_salt_of, [tmp_path] * 16))
    assert len(salts) == 1
    assert os.listdir(tmp_path) == ["salt"]


def test_threads_at_once_get_the_same_salt(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(load_salt, [tmp_path] * 64))) == 1


def test_a_damaged_salt_is_an_error_and_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "salt").write_bytes(b"short")
    with pytest.raises(SaltDamaged, match="5 bytes instead of 32"):
        load_salt(tmp_path)
    assert (tmp_path / "salt").read_bytes() == b"short"


def test_a_salt_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "home").write_bytes(b"a file")
    with pytest.raises(SystemFailure):
        load_salt(tmp_path / "home")


def test_a_hash_is_the_hmac_of_the_uid_and_depends_on_the_salt() -> None:
    salt = bytes(range(32))
    expected = hmac.new(salt, b"1.2.840.1", hashlib.sha256).hexdigest()[:32]
    assert hash_uid(salt, "1.2.840.1") == expected
    assert len({hash_uid(salt, "1.2"), hash_uid(salt, "1.3"), hash_uid(bytes(32), "1.2")}) == 3
