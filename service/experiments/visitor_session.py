"""Sessions of users, for experiments. Only an HMAC of a session is stored."""

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
    """The session of a request: its header, else its login, its key, or the page's cookie; None without any of them."""
    caller = connection.scope["auth"]
    given = connection.headers.get(HEADER)
    if given:  # two programs may use the same names of sessions
        return f"header {caller.name or ''} {given}"
    if caller.by_cookie:
        return f"login {read_cookie(connection)}"
    if caller.name:
        return f"key {caller.name}"
    visitor = connection.cookies.get(COOKIE)
    return f"visitor {visitor}" if visitor else None


def begin_visit(*, secure: bool) -> tuple[str, Cookie]:
    """A new session for a browser without login or key, and its cookie."""
    token = secrets.token_urlsafe(16)
    cookie = Cookie(key=COOKIE, value=token, max_age=LIFETIME_S, httponly=True, samesite="strict", secure=secure)
    return f"visitor {token}", cookie
