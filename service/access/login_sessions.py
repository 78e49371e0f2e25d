"""Sessions of the web page: a random cookie that stands for a key, in memory, so that logging out ends it."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable

from service.access.keys import hash_secret

COOKIE = "cxr_session"
LIFETIME_S = 12 * 60 * 60
"""A long shift. The service forgets all sessions when it restarts."""
_LIMIT = 10_000


class LoginSessions:
    """Which cookie stands for which key. The cookie is not the key, so a stolen one ends with its session."""

    def __init__(self, *, secure: bool, clock: Callable[[], float] = time.monotonic) -> None:
        """`secure`: browsers reach the service over HTTPS, and shall send the cookie over nothing else."""
        self.secure = secure
        self._clock = clock
        # By the hash of the cookie: (hash of the key, end). The oldest is first.
        self._open: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def begin(self, key_sha256: str) -> str:
        """The cookie of a new session of the key with this hash; never one that the browser brought along."""
        token = secrets.token_urlsafe(32)
        self._open[hash_secret(token)] = (key_sha256, self._clock() + LIFETIME_S)
        while len(self._open) > _LIMIT:
            self._open.popitem(last=False)
        return token

    def key_of(self, token: str) -> str | None:
        """The hash of the key that the cookie stands for; None if its session has ended or never was."""
        key_sha256, end = self._open.get(hash_secret(token), (None, 0.0))
        return key_sha256 if end > self._clock() else None

    def end(self, token: str) -> None:
        """End the session, if there is one."""
        self._open.pop(hash_secret(token), None)
