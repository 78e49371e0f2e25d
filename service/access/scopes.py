"""Scopes: the requirement of each route on the caller's key, and the check that every route declares one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from litestar.connection import ASGIConnection
from litestar.exceptions import ImproperlyConfiguredException
from litestar.handlers import BaseRouteHandler
from litestar.plugins import ReceiveRoutePlugin
from litestar.routes import BaseRoute

from service.access.keys import KeyScope
from service.refusals import Refusal

# Values for the `opt` of a controller or handler. The service does not start if a route has none of them.
OPEN: dict[str, Any] = {"needs": "nothing"}
UNCOUNTED: dict[str, Any] = {"needs": "nothing", "uncounted": True}
"""Open, and not counted by the rate limit."""
ANY_KEY: dict[str, Any] = {"needs": "any"}
"""For routes without cases or reports: a key of any scope."""
READ: dict[str, Any] = {"needs": "read"}
ADMIN: dict[str, Any] = {"needs": "admin"}

_ALL_SCOPES: frozenset[KeyScope] = frozenset({"read", "ingest", "admin"})
_NEEDS = {"nothing", "any", *_ALL_SCOPES}


class Unauthorized(Refusal):
    """The answer names the accepted credentials."""

    http_status = 401

    def __init__(self, message: str) -> None:
        super().__init__(message, headers={"WWW-Authenticate": 'Bearer realm="cxr"'})


class KeyRequired(Unauthorized):
    """The request has no key."""

    code = "key_required"


class ScopeMissing(Refusal):
    """The key is valid, but lacks the scope that the route needs."""

    code = "scope_missing"
    http_status = 403


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a request, in `scope["auth"]`: name of the key, if there is one, and its scopes."""

    name: str | None
    scopes: frozenset[KeyScope]
    by_cookie: bool = False


UNRESTRICTED_CALLER = Caller(None, _ALL_SCOPES)
"""The caller while no key exists: everybody on this machine may do everything."""
ANONYMOUS_CALLER = Caller(None, frozenset())
"""A caller without a key."""


async def require_scope(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Guard of every route: the caller's key must have the scope in the route's `opt`.

    Raises:
        KeyRequired: the request has no key. ScopeMissing: the key lacks the scope.
    """
    needs = handler.opt.get("needs")
    caller: Caller = connection.scope["auth"]
    if needs == "nothing" or needs in caller.scopes or (needs == "any" and caller.scopes):
        return
    if caller == ANONYMOUS_CALLER:
        raise KeyRequired("an API key is required: send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`")
    raise ScopeMissing(f"the key {caller.name} lacks the scope `{needs}`")


class ScopeDeclarationCheck(ReceiveRoutePlugin):
    """Refuses to start the service if a route declares no scope."""

    def receive_route(self, route: BaseRoute) -> None:
        """Check a route; Litestar calls this for each one.

        Raises:
            ImproperlyConfiguredException: the route, or one of its methods, declares no scope.
        """
        handlers = getattr(route, "route_handlers", None) or [route.route_handler]  # type: ignore[attr-defined]
        for handler in handlers:
            if getattr(handler, "http_methods", ()) == {"OPTIONS"}:  # added by Litestar to list the methods
                handler.opt.setdefault("needs", "any")
            if handler.opt.get("needs") not in _NEEDS:
                raise ImproperlyConfiguredException(
                    f"the route {route.path} ({handler}) declares no scope; set `opt = READ` on its controller, or "
                    "another constant of service.access.scopes"
                )
