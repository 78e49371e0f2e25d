"""API keys: shown once when created, stored as hashes in `<CXR_HOME>/keys.json`."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import portalocker
from msgspec import Meta

from retrieval.atomic_files import replace_file
from retrieval.errors import RetrievalError
from retrieval.file_permissions import make_private_folder
from retrieval.watched_file import WatchedFile

KeyScope = Literal["read", "ingest", "admin"]
FILE_NAME = "keys.json"
_PREFIX = "cxr_"
_SECRET_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_OWNER_ONLY = 0o600

Moment = Annotated[datetime, Meta(tz=True)]


class KeysDamaged(RetrievalError):
    """The file of keys cannot be read, so no caller can be identified."""

    code = "keys_damaged"
    http_status = 503


class KeysLost(RetrievalError):
    """The home had keys, but their file is missing."""

    code = "keys_lost"


class KeyRefused(RetrievalError):
    """A key cannot be created or revoked."""

    code = "key_refused"


class ApiKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One key as stored. `sha256` is the hash of the secret; the secret itself is stored nowhere. Times are UTC."""

    name: str
    scopes: tuple[KeyScope, ...]
    sha256: str
    created: Moment
    expires: Moment | None = None
    revoked: Moment | None = None

    @property
    def allowed(self) -> frozenset[KeyScope]:
        """The key's scopes, where `admin` includes all others."""
        return frozenset({"read", "ingest", "admin"} if "admin" in self.scopes else self.scopes)

    def state(self, now: datetime | None = None) -> Literal["valid", "expired", "revoked"]:
        """State of the key at `now` (UTC, by default the current time)."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= (now or datetime.now(UTC)) else "valid"


class _Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: Literal[1]
    keys: tuple[ApiKey, ...]


class KeyFile:
    """The file of keys of one home. Several processes may read and write it; writes are atomic."""

    def __init__(self, home: Path) -> None:
        self.path = home / FILE_NAME
        # Created with the first key and never removed, so that a lost file of keys is noticed.
        self._lock = self.path.with_name(f".{FILE_NAME}.lock")

    def is_lost(self) -> bool:
        """Whether this home had keys and their file is missing."""
        return self._lock.exists() and not self.path.exists()

    def read(self) -> tuple[ApiKey, ...] | None:
        """All keys, also revoked and expired ones, oldest first; None if there is no file, empty after `remove_all`.

        Raises:
            KeysDamaged: the file cannot be read, or has an unknown format.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise KeysDamaged(f"{FILE_NAME} cannot be read: {error.strerror}") from error
        try:
            return msgspec.json.decode(content, type=_Document).keys
        except msgspec.DecodeError as error:
            raise KeysDamaged(
                f"{FILE_NAME} is damaged: {error}; restore it, or remove all keys with `cxr keys remove-all`"
            ) from error

    def create(
        self, name: str, scopes: tuple[KeyScope, ...], *, lifetime: timedelta | None = None
    ) -> tuple[ApiKey, str]:
        """A new key with its secret, which is not stored. It expires after `lifetime`, by default never.

        A name is used only once, so that the audit log stays unambiguous when a key was revoked.

        Raises:
            KeyRefused: the name is taken or malformed, or there is no scope.
            KeysDamaged: as `read`.
        """
        if not _NAME.fullmatch(name):
            raise KeyRefused(
                "a key's name starts with a letter or digit and has 1 to 64 letters, digits, dots, hyphens, underscores "
                f"or @; found {name!r}"
            )
        if not scopes:
            raise KeyRefused("a key needs a scope: read, ingest or admin")
        with self._locked():
            keys = self.read() or ()
            if any(key.name == name for key in keys):
                raise KeyRefused(f"the name {name!r} is or was in use; names are used only once")
            secret = _PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
            now = datetime.now(UTC)
            made = ApiKey(
                name=name,
                scopes=tuple(dict.fromkeys(scopes)),
                sha256=hash_secret(secret),
                created=now,
                expires=now + lifetime if lifetime is not None else None,
            )
            self._write((*keys, made))
        return made, secret

    def revoke(self, name: str) -> ApiKey:
        """Revoke a key; running services notice it. Revoking it again changes nothing.

        Raises:
            KeyRefused: there is no such key. KeysDamaged: as `read`.
        """
        if self.read() is None:
            raise KeyRefused(f"there is no key {name!r}; create one with `cxr keys create`")
        with self._locked():
            keys = {key.name: key for key in self.read() or ()}
            if name not in keys:
                raise KeyRefused(f"there is no key {name!r}; list the keys with `cxr keys list`")
            if keys[name].revoked is None:
                keys[name] = msgspec.structs.replace(keys[name], revoked=datetime.now(UTC))
                self._write(tuple(keys.values()))
            return keys[name]

    def remember(self) -> None:
        """Note that this home has keys, in case the file was copied here without its lock file."""
        with contextlib.suppress(OSError):
            self._lock.touch(mode=_OWNER_ONLY)

    def remove_all(self) -> None:
        """Remove all keys, even if their file is lost or damaged. The service then needs no key on this machine.

        A running service still requires a key until it restarts.
        """
        with self._locked():
            self._write(())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time, or one of two writers would overwrite the other's key."""
        make_private_folder(self.path.parent)
        with self._lock.open("ab") as file:
            portalocker.lock(file, portalocker.LOCK_EX)
            yield

    def _write(self, keys: tuple[ApiKey, ...]) -> None:
        with replace_file(self.path, durable=True) as file:
            file.write(msgspec.json.format(msgspec.json.encode(_Document(version=1, keys=keys))) + b"\n")


class KeyRing:
    """The keys of a running service, read again whenever the file changes."""

    def __init__(self, file: KeyFile, *, always_required: bool) -> None:
        self._watched = WatchedFile(file.path, file.read)
        self._required = always_required
        self._keys: tuple[ApiKey, ...] = ()

    @property
    def required(self) -> bool:
        """Whether requests need a key. This stays true after the first key, so that a lost file opens nothing.

        Raises:
            KeysDamaged: as `KeyFile.read`.
        """
        self._refresh()
        return self._required

    def find(self, sha256: str) -> ApiKey | None:
        """The key whose secret has this hash, valid or not; None if there is none.

        Compares every key in constant time, so that the response time reveals nothing about the hashes.

        Raises:
            KeysDamaged: as `KeyFile.read`.
        """
        self._refresh()
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.sha256, sha256):
                found = key
        return found

    def _refresh(self) -> None:
        try:
            keys = self._watched.read()
        except OSError as error:
            raise KeysDamaged(f"{FILE_NAME} cannot be read: {error.strerror}") from error
        self._keys = keys or ()
        self._required = self._required or bool(keys)


def hash_secret(secret: str) -> str:
    """SHA-256 of a secret, in hexadecimal.

    A slow hash such as argon2 protects passwords against guessing. A secret of 256 random bits does not need it.
    """
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
