"""Which session a request belongs to. Only an HMAC of it is kept."""

from __future__ import annotations

import secrets
from typing import Any

from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie

from service.access.auth import read_cookie
from service.access.login_sessions import LIFETIME_S

HEADER = "X-CXR-Session"
COOKIE = "cxr_visitor"


def session_of(connection: ASGIConnection[Any, Any, Any, Any]) -> str | None:
    """What names the session: the header, the login, the key, or the page's cookie; None if there is none of them."""
    caller = connection.scope["auth"]
    given = connection.headers.get(HEADER)
    if given:  # a program speaks for its own users alone
        return f"header {caller.name or ''} {given}"
    if caller.by_cookie:
        return f"login {read_cookie(connection)}"
    if caller.name:
        return f"key {caller.name}"
    visitor = connection.cookies.get(COOKIE)
    return f"visitor {visitor}" if visitor else None


def begin_visit(*, secure: bool) -> tuple[str, Cookie]:
    """A new session of a browser that nothing else tells from others, and the cookie that carries it."""
    token = secrets.token_urlsafe(16)
    cookie = Cookie(key=COOKIE, value=token, max_age=LIFETIME_S, httponly=True, samesite="strict", secure=secure)
    return f"visitor {token}", cookie
