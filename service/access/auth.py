"""Who may ask for what: keys in headers, or the page's session cookie, against the scope that each route declares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from litestar.connection import ASGIConnection
from litestar.enums import ScopeType
from litestar.exceptions import ImproperlyConfiguredException
from litestar.handlers import BaseRouteHandler
from litestar.middleware import ASGIMiddleware
from litestar.plugins import ReceiveRoutePlugin
from litestar.routes import BaseRoute
from litestar.types import ASGIApp, Receive, Scope, Send

from retrieval.errors import RetrievalError
from service.access.audit import AuditLog
from service.access.keys import ApiKey, KeyRing, KeyScope, hash_secret
from service.access.rate_limit import TokenBuckets, address_of
from service.access.sessions import COOKIE, Sessions
from service.refusals import RateLimited, Refusal

# For the `opt` of a controller or handler. A route that has none of these does not start.
OPEN: dict[str, Any] = {"needs": "nothing"}
UNCOUNTED: dict[str, Any] = {"needs": "nothing", "uncounted": True}
"""Open, and free of the rate limit."""
ANY_KEY: dict[str, Any] = {"needs": "any"}
"""For what is no case and no report: whoever has a key, of whatever scope."""
READ: dict[str, Any] = {"needs": "read"}
ADMIN: dict[str, Any] = {"needs": "admin"}

WRONG_KEYS_PER_MINUTE = 10
_ALL_SCOPES: frozenset[KeyScope] = frozenset({"read", "ingest", "admin"})
_NEEDS = {"nothing", "any", *_ALL_SCOPES}
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class _Unauthorized(Refusal):
    """Says with which kind of credentials to come back."""

    http_status = 401

    def __init__(self, message: str) -> None:
        super().__init__(message, headers={"WWW-Authenticate": 'Bearer realm="cxr"'})


class KeyRequired(_Unauthorized):
    """The request carries no key."""

    code = "key_required"


class InvalidKey(_Unauthorized):
    """The request carries a key that opens nothing: unknown, expired, or revoked."""

    code = "invalid_key"


class ScopeMissing(Refusal):
    """The key is good, but not for this."""

    code = "scope_missing"
    http_status = 403


class CrossSite(Refusal):
    """A page of another site made the browser send this request."""

    code = "cross_site"
    http_status = 403


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the name of the key, if there is one, and what it opens. Stands in `scope["auth"]`."""

    name: str | None
    scopes: frozenset[KeyScope]
    by_cookie: bool = False


# Nobody has made a key: whoever reaches the loopback address may do everything.
_EVERYBODY = Caller(None, _ALL_SCOPES)
_NOBODY = Caller(None, frozenset())


class Authenticator:
    """Tells callers by their keys. Wrong ones are recorded, and from one address only so many a minute are answered."""

    def __init__(self, keys: KeyRing, sessions: Sessions, audit: AuditLog) -> None:
        self.keys = keys
        self.sessions = sessions
        self._audit = audit
        self._wrong = TokenBuckets(WRONG_KEYS_PER_MINUTE)

    async def identify(self, connection: ASGIConnection[Any, Any, Any, Any]) -> Caller:
        """The caller of a request.

        Raises:
            InvalidKey: it carries a key that opens nothing. RateLimited: and so did many before it.
            CrossSite: a cookie came with a request whose origin the browser does not tell.
            KeysDamaged, AuditUnavailable: keys cannot be told, or refusals not recorded.
        """
        if not self.keys.required:
            return _EVERYBODY
        secret = _secret_in(connection)
        if secret is not None:
            key = await self.verify(connection, secret)
            return Caller(key.name, key.allowed)
        token = read_cookie(connection)
        sha256 = self.sessions.key_of(token) if token else None
        session_key = self.keys.find(sha256) if sha256 else None
        if session_key is None or session_key.state() != "valid":
            return _NOBODY
        return Caller(session_key.name, session_key.allowed, by_cookie=True)

    async def verify(self, connection: ASGIConnection[Any, Any, Any, Any], secret: str) -> ApiKey:
        """The valid key with this secret.

        A right key passes however many wrong ones came before it: others may share its address, and 256 random bits
        are not guessed. The limit keeps the audit log from being flooded.

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
    """Puts the caller into `scope["auth"]`; refuses wrong keys, and changes that another site's page asks for."""

    scopes = (ScopeType.HTTP,)

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Pass the request on, or raise."""
        connection = ASGIConnection[Any, Any, Any, Any](scope)
        scope["user"] = None
        scope["auth"] = _NOBODY
        changes = scope["method"] not in _SAFE_METHODS  # type: ignore[typeddict-item]
        origin = _origin_of(connection)
        if changes and origin == "other":
            raise CrossSite("a page of another site asked for this; use the service's own page, or a key in a header")
        try:
            scope["auth"] = await self._authenticator.identify(connection)
        except RetrievalError:
            if scope["route_handler"].opt.get("needs") != "nothing":
                raise
        if changes and origin == "unknown" and scope["auth"].by_cookie:
            raise CrossSite("the browser did not say which page asked for this; use a key in a header")
        await next_app(scope, receive, send)


async def require_scope(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Guard of every route: the caller's key must open what the route declares in its `opt`.

    Raises:
        KeyRequired: no key. ScopeMissing: another scope is needed.
    """
    needs = handler.opt.get("needs")
    caller: Caller = connection.scope["auth"]
    if needs == "nothing" or needs in caller.scopes or (needs == "any" and caller.scopes):
        return
    if caller == _NOBODY:
        raise KeyRequired("a key is needed: send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`")
    raise ScopeMissing(f"the key {caller.name} has not the scope {needs}")


class ScopesDeclared(ReceiveRoutePlugin):
    """Refuses to start with a route of which nobody said who may use it."""

    def receive_route(self, route: BaseRoute) -> None:
        """Called by Litestar with each route that is registered.

        Raises:
            ImproperlyConfiguredException: the route, or one of its methods, declares no scope.
        """
        handlers = getattr(route, "route_handlers", None) or [route.route_handler]  # type: ignore[attr-defined]
        for handler in handlers:
            if getattr(handler, "http_methods", ()) == {"OPTIONS"}:  # Litestar's own, which tells the methods
                handler.opt.setdefault("needs", "any")
            if handler.opt.get("needs") not in _NEEDS:
                raise ImproperlyConfiguredException(
                    f"the route {route.path} ({handler}) declares no scope; give its controller `opt = READ`, or another "
                    "of service.access.auth"
                )


def read_cookie(connection: ASGIConnection[Any, Any, Any, Any]) -> str | None:
    """The session's cookie, if there is one."""
    return connection.cookies.get(COOKIE)


def _secret_in(connection: ASGIConnection[Any, Any, Any, Any]) -> str | None:
    scheme, _, secret = connection.headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer":
        return secret.strip()
    return connection.headers.get("x-api-key")


def _origin_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Literal["own", "other", "unknown"]:
    """Whose page made a browser send the request; `unknown` if the client is no browser, or an old one.

    SameSite cookies alone would let pages from other ports of this host ask.
    """
    fetch_site = connection.headers.get("sec-fetch-site")
    if fetch_site is not None:
        return "own" if fetch_site in ("same-origin", "none") else "other"
    origin = connection.headers.get("origin")
    if origin is None:
        return "unknown"
    # The host alone: behind a proxy that speaks HTTPS, the scheme here is another one.
    try:
        return "own" if urlsplit(origin).netloc.lower() == connection.headers.get("host", "").lower() else "other"
    except ValueError:
        return "other"
