"""API keys: made once, shown once, kept as hashes in `<CXR_HOME>/keys.json`."""

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
    """The file of the keys cannot be read, so that nobody can be told from anybody."""

    code = "keys_damaged"
    http_status = 503


class KeysLost(RetrievalError):
    """The home had keys, and their file is gone."""

    code = "keys_lost"


class KeyRefused(RetrievalError):
    """A key cannot be made or revoked as asked."""

    code = "key_refused"


class ApiKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One key as it is kept. `sha256` is the hash of the secret, which is kept nowhere; moments are UTC."""

    name: str
    scopes: tuple[KeyScope, ...]
    sha256: str
    created: Moment
    expires: Moment | None = None
    revoked: Moment | None = None

    @property
    def allowed(self) -> frozenset[KeyScope]:
        """The scopes it opens: `admin` includes the others."""
        return frozenset({"read", "ingest", "admin"} if "admin" in self.scopes else self.scopes)

    def state(self, now: datetime | None = None) -> Literal["valid", "expired", "revoked"]:
        """Whether it opens anything at `now` (UTC; the present if None)."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= (now or datetime.now(UTC)) else "valid"


class _Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: Literal[1]
    keys: tuple[ApiKey, ...]


class KeyFile:
    """The keys of one home. Several processes may read and write it; a reader sees the old keys or the new ones."""

    def __init__(self, home: Path) -> None:
        self.path = home / FILE_NAME
        # Made with the first key and never removed: it tells that there were keys.
        self._lock = self.path.with_name(f".{FILE_NAME}.lock")

    def is_lost(self) -> bool:
        """Whether keys were made in this home and their file is gone."""
        return self._lock.exists() and not self.path.exists()

    def read(self) -> tuple[ApiKey, ...] | None:
        """All keys, oldest first, revoked and expired ones too; none after `remove_all`; None if there is no file.

        Raises:
            KeysDamaged: the file cannot be read or understood.
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
                f"{FILE_NAME} is not as it was written: {error}; restore it, or remove all keys with `cxr keys remove-all`"
            ) from error

    def create(
        self, name: str, scopes: tuple[KeyScope, ...], *, lifetime: timedelta | None = None
    ) -> tuple[ApiKey, str]:
        """Make a key, valid for `lifetime` (for ever if None), and give it with its secret, which is not kept.

        A name is used once, so that the audit log stays unambiguous after a key was revoked.

        Raises:
            KeyRefused: the name is taken or not of the form of a name, or no scope is given.
            KeysDamaged: the file cannot be read or understood.
        """
        if not _NAME.fullmatch(name):
            raise KeyRefused(
                "the name of a key has 1 to 64 letters, digits, dots, hyphens, underscores or @, the first of them a "
                f"letter or digit; found {name!r}"
            )
        if not scopes:
            raise KeyRefused("a key needs a scope: read, ingest or admin")
        with self._locked():
            keys = self.read() or ()
            if any(key.name == name for key in keys):
                raise KeyRefused(f"there is a key {name!r} already, or was one; names are used once")
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
        """End a key now, for running services, too. A second time changes nothing.

        Raises:
            KeyRefused: there is no such key. KeysDamaged: the file cannot be read or understood.
        """
        if self.read() is None:
            raise KeyRefused(f"there is no key {name!r}; `cxr keys create` makes one")
        with self._locked():
            keys = {key.name: key for key in self.read() or ()}
            if name not in keys:
                raise KeyRefused(f"there is no key {name!r}; `cxr keys list` names them")
            if keys[name].revoked is None:
                keys[name] = msgspec.structs.replace(keys[name], revoked=datetime.now(UTC))
                self._write(tuple(keys.values()))
            return keys[name]

    def remember(self) -> None:
        """Note that this home has keys, for a file that was copied here without that note."""
        with contextlib.suppress(OSError):
            self._lock.touch(mode=_OWNER_ONLY)

    def remove_all(self) -> None:
        """Remove all keys, also where their file is lost or damaged: a service on this machine alone then needs none.

        A running service goes on needing them until it is started again.
        """
        with self._locked():
            self._write(())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time: two that read the same keys would each lose the other's."""
        make_private_folder(self.path.parent)
        with self._lock.open("ab") as file:
            portalocker.lock(file, portalocker.LOCK_EX)
            yield

    def _write(self, keys: tuple[ApiKey, ...]) -> None:
        with replace_file(self.path, durable=True) as file:
            file.write(msgspec.json.format(msgspec.json.encode(_Document(version=1, keys=keys))) + b"\n")


class KeyRing:
    """The keys as a running service sees them: read anew whenever the file has changed."""

    def __init__(self, file: KeyFile, *, always_required: bool) -> None:
        self._watched = WatchedFile(file.path, file.read)
        self._required = always_required
        self._keys: tuple[ApiKey, ...] = ()

    @property
    def required(self) -> bool:
        """Whether requests need a key. Once a key was seen, that stays so: a lost file must not open the service.

        Raises:
            KeysDamaged: the file cannot be read or understood.
        """
        self._refresh()
        return self._required

    def find(self, sha256: str) -> ApiKey | None:
        """The key whose secret has this hash, valid or not.

        Every key is compared, each in constant time, so that an answer's delay tells nothing of the hashes.

        Raises:
            KeysDamaged: the file cannot be read or understood.
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

    A slow hash such as argon2 makes guesses dear, for passwords that can be guessed. 256 random bits cannot.
    """
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
