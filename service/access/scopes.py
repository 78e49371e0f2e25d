"""Scopes: what each route requires of the caller's key, and the check that every route says so."""

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

# For the `opt` of a controller or handler. A route that has none of these does not start.
OPEN: dict[str, Any] = {"needs": "nothing"}
UNCOUNTED: dict[str, Any] = {"needs": "nothing", "uncounted": True}
"""Open, and free of the rate limit."""
ANY_KEY: dict[str, Any] = {"needs": "any"}
"""For what is no case and no report: whoever has a key, of whatever scope."""
READ: dict[str, Any] = {"needs": "read"}
ADMIN: dict[str, Any] = {"needs": "admin"}

_ALL_SCOPES: frozenset[KeyScope] = frozenset({"read", "ingest", "admin"})
_NEEDS = {"nothing", "any", *_ALL_SCOPES}


class Unauthorized(Refusal):
    """Says with which kind of credentials to come back."""

    http_status = 401

    def __init__(self, message: str) -> None:
        super().__init__(message, headers={"WWW-Authenticate": 'Bearer realm="cxr"'})


class KeyRequired(Unauthorized):
    """The request carries no key."""

    code = "key_required"


class ScopeMissing(Refusal):
    """The key is good, but not for this."""

    code = "scope_missing"
    http_status = 403


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the name of the key, if there is one, and what it opens. Stands in `scope["auth"]`."""

    name: str | None
    scopes: frozenset[KeyScope]
    by_cookie: bool = False


# Nobody has made a key: whoever reaches the loopback address may do everything.
EVERYBODY = Caller(None, _ALL_SCOPES)
NOBODY = Caller(None, frozenset())


async def require_scope(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Guard of every route: the caller's key must open what the route declares in its `opt`.

    Raises:
        KeyRequired: no key. ScopeMissing: another scope is needed.
    """
    needs = handler.opt.get("needs")
    caller: Caller = connection.scope["auth"]
    if needs == "nothing" or needs in caller.scopes or (needs == "any" and caller.scopes):
        return
    if caller == NOBODY:
        raise KeyRequired("a key is needed: send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`")
    raise ScopeMissing(f"the key {caller.name} has not the scope {needs}")


class ScopeDeclarationCheck(ReceiveRoutePlugin):
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
                    "of service.access.scopes"
                )
