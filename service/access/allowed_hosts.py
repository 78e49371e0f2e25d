"""Allowed hosts: a request must name this service in its Host header."""

from __future__ import annotations

from litestar.enums import ScopeType
from litestar.exceptions import ClientException
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from service.settings import ServiceSettings

_WILDCARDS = ("", "0.0.0.0", "::", "*")


class AllowedHosts(ASGIMiddleware):
    """Refuses requests for other host names (DNS rebinding).

    A hostile site can make its own name resolve to 127.0.0.1, so that the browser lets its pages read the answers of
    this service. The Host header then still holds the name of that site.
    """

    scopes = (ScopeType.HTTP,)

    def __init__(self, settings: ServiceSettings) -> None:
        self._names = {name.lower() for name in settings.allowed_hosts}
        if settings.host not in _WILDCARDS:
            self._names.add(settings.host.lower())

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Pass the request on.

        Raises:
            ClientException: the host is not allowed.
        """
        header = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
        if "*" not in self._names and _name_of(header) not in self._names:
            raise ClientException("the host in the Host header is not allowed; see CXR_SERVICE_ALLOWED_HOSTS")
        await next_app(scope, receive, send)


def _name_of(header: str) -> str:
    """The host without its port: `localhost:8000` -> `localhost`, `[::1]:8000` -> `::1`."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()
