"""Authentication: the key in a header, or the page's session cookie, identifies the caller."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import urlsplit

from litestar.connection import ASGIConnection
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from retrieval.errors import RetrievalError
from service.access.audit import AuditLog
from service.access.keys import ApiKey, KeyRing, hash_secret
from service.access.login_sessions import COOKIE, LoginSessions
from service.access.rate_limit import TokenBuckets, address_of
from service.access.scopes import ANONYMOUS_CALLER, UNRESTRICTED_CALLER, Caller, Unauthorized
from service.refusals import RateLimited, Refusal

WRONG_KEYS_PER_MINUTE = 10
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class InvalidKey(Unauthorized):
    """The key is unknown, expired or revoked."""

    code = "invalid_key"


class CrossSite(Refusal):
    """A page of another site sent the request."""

    code = "cross_site"
    http_status = 403


class Authenticator:
    """Identifies callers. Wrong keys are recorded in the audit log, and limited per minute and address."""

    def __init__(self, keys: KeyRing, sessions: LoginSessions, audit: AuditLog) -> None:
        self.keys = keys
        self.sessions = sessions
        self._audit = audit
        self._wrong = TokenBuckets(WRONG_KEYS_PER_MINUTE)

    async def identify(self, connection: ASGIConnection[Any, Any, Any, Any]) -> Caller:
        """The caller of a request.

        Raises:
            InvalidKey: the key is unknown, expired or revoked. RateLimited: too many wrong keys from this address.
            KeysDamaged, AuditUnavailable: the keys cannot be read, or a wrong key cannot be recorded.
        """
        if not self.keys.required:
            return UNRESTRICTED_CALLER
        secret = _secret_in(connection)
        if secret is not None:
            key = await self.verify(connection, secret)
            return Caller(key.name, key.allowed)
        token = read_cookie(connection)
        sha256 = self.sessions.key_of(token) if token else None
        session_key = self.keys.find(sha256) if sha256 else None
        if session_key is None or session_key.state() != "valid":
            return ANONYMOUS_CALLER
        return Caller(session_key.name, session_key.allowed, by_cookie=True)

    async def verify(self, connection: ASGIConnection[Any, Any, Any, Any], secret: str) -> ApiKey:
        """The valid key with this secret.

        The limit on wrong keys does not apply to a valid one, because several clients may share an address. It keeps
        the audit log small; nobody guesses 256 random bits.

        Raises:
            InvalidKey, RateLimited, KeysDamaged, AuditUnavailable: as `identify`.
        """
        key = self.keys.find(hash_secret(secret))
        if key is not None and key.state() == "valid":
            return key
        wait_s = self._wrong.take(address_of(connection.scope))
        if wait_s:
            raise RateLimited("too many wrong keys from this address", wait_s)
        state = key.state() if key else "unknown"
        await self._audit.record(connection, "key_refused", reason=state, refused=key.name if key else None)
        raise InvalidKey(f"this key is {state}")


class Authentication(ASGIMiddleware):
    """Puts the caller into `scope["auth"]`. Refuses wrong keys, and changes requested by pages of other sites."""

    scopes = (ScopeType.HTTP,)

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Pass the request on, or raise as `Authenticator.identify`, or `CrossSite`."""
        connection = ASGIConnection[Any, Any, Any, Any](scope)
        scope["user"] = None
        scope["auth"] = ANONYMOUS_CALLER
        changes = scope["method"] not in _SAFE_METHODS  # type: ignore[typeddict-item]
        origin = _origin_of(connection)
        if changes and origin == "other":
            raise CrossSite("cross-site request refused; use the page of this service, or send an API key in a header")
        try:
            scope["auth"] = await self._authenticator.identify(connection)
        except RetrievalError:
            if scope["route_handler"].opt.get("needs") != "nothing":
                raise
        if changes and origin == "unknown" and scope["auth"].by_cookie:
            raise CrossSite("the request has no Origin header; send an API key in a header")
        await next_app(scope, receive, send)


def read_cookie(connection: ASGIConnection[Any, Any, Any, Any]) -> str | None:
    """The session cookie, if the request has one."""
    return connection.cookies.get(COOKIE)


def _secret_in(connection: ASGIConnection[Any, Any, Any, Any]) -> str | None:
    scheme, _, secret = connection.headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer":
        return secret.strip()
    return connection.headers.get("x-api-key")


def _origin_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Literal["own", "other", "unknown"]:
    """Origin of the page that sent the request; `unknown` if the client is an old browser or none.

    SameSite cookies alone are not enough: they are sent by pages on other ports of this host, too.
    """
    fetch_site = connection.headers.get("sec-fetch-site")
    if fetch_site is not None:
        return "own" if fetch_site in ("same-origin", "none") else "other"
    origin = connection.headers.get("origin")
    if origin is None:
        return "unknown"
    # Compare the host only: behind an HTTPS proxy the scheme differs.
    try:
        return "own" if urlsplit(origin).netloc.lower() == connection.headers.get("host", "").lower() else "other"
    except ValueError:
        return "other"
