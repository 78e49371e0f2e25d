"""Login sessions of the web page: random cookies, each standing for a key. Kept in memory only."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable

from service.access.keys import hash_secret

COOKIE = "cxr_session"
LIFETIME_S = 12 * 60 * 60
"""Seconds; a long shift. A restart of the service ends all sessions."""
_LIMIT = 10_000


class LoginSessions:
    """Maps cookies to keys. A stolen cookie is useless after its session, because it does not hold the key."""

    def __init__(self, *, secure: bool, clock: Callable[[], float] = time.monotonic) -> None:
        """`secure`: browsers send the cookie over HTTPS only."""
        self.secure = secure
        self._clock = clock
        # Hash of the cookie -> (hash of the key, end), oldest first.
        self._open: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def begin(self, key_sha256: str) -> str:
        """A new, random cookie for a session of the key with this hash."""
        token = secrets.token_urlsafe(32)
        self._open[hash_secret(token)] = (key_sha256, self._clock() + LIFETIME_S)
        while len(self._open) > _LIMIT:
            self._open.popitem(last=False)
        return token

    def key_of(self, token: str) -> str | None:
        """Hash of the cookie's key; None if the session has ended or never existed."""
        key_sha256, end = self._open.get(hash_secret(token), (None, 0.0))
        return key_sha256 if end > self._clock() else None

    def end(self, token: str) -> None:
        """End the session of the cookie, if there is one."""
        self._open.pop(hash_secret(token), None)
