"""DICOM UIDs -> pseudonymous ids, the same in every run of one installation."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from retrieval.errors import SaltDamaged, SystemFailure
from retrieval.file_permissions import make_private_folder, open_private

SALT_BYTES = 32


def load_salt(home: Path) -> bytes:
    """The secret of `home`: 32 random bytes in the file `salt`. It is created once, even by several processes at once.

    With the salt, one can find the UID of an id, so only the owner can read the file. With another salt, the same DICOM
    files get other ids.

    Raises:
        SaltDamaged: the file does not hold 32 bytes.
        SystemFailure: it cannot be read or written.
    """
    path = home / "salt"
    try:
        if not path.exists():
            _write_once(path, secrets.token_bytes(SALT_BYTES))
        salt = path.read_bytes()
    except OSError as error:
        raise SystemFailure(f"{path} cannot be read or written: {error.strerror}") from error
    if len(salt) != SALT_BYTES:
        raise SaltDamaged(
            f"{path} holds {len(salt)} bytes instead of {SALT_BYTES}; restore it, or remove it and ingest DICOM again "
            "with --recreate"
        )
    return salt


def hash_uid(salt: bytes, uid: str) -> str:
    """HMAC-SHA256 (RFC 2104) of a UID, 32 hexadecimal digits."""
    return hmac.new(salt, uid.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:32]


def fingerprint(salt: bytes) -> str:
    """16 hexadecimal digits that identify a salt without revealing it (HMAC-SHA256 of a fixed text)."""
    return hmac.new(salt, b"cxr-retrieval: fingerprint of a salt", hashlib.sha256).hexdigest()[:16]


def _write_once(path: Path, content: bytes) -> None:
    make_private_folder(path.parent)
    draft = path.with_name(f".salt.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = open_private(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # Unlike a rename, a link never replaces the salt that another process wrote first.
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
