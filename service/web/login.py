"""`/login` and `/logout`: the session of the page, where keys are needed. The cookie does not hold the key."""

from __future__ import annotations

from typing import Any, Literal

from litestar import Controller, Request, Response, get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.response import Redirect, Template

from retrieval.errors import RetrievalError
from service.access.audit import AuditLog
from service.access.auth import Authenticator, InvalidKey, read_cookie
from service.access.login_sessions import COOKIE, LIFETIME_S
from service.access.scopes import OPEN
from service.api.problems import Problem, describe_error, respond
from service.refusals import Refusal

_SEE_OTHER: Literal[303] = 303
# Otherwise thumbnails stay in the browser's cache for a year, also on a shared workstation.
_CLEAR_CACHE = {"Clear-Site-Data": '"cache"'}


class LoginController(Controller):
    """Log in with a key, and log out."""

    path = "/"
    include_in_schema = False
    opt = OPEN

    @get("/login", sync_to_thread=False)
    def show(self, request: Request[Any, Any, Any]) -> Response[Any]:
        """The form for the key. A query in the URL is kept, and runs after the login."""
        if "read" in request.auth.scopes:
            return Redirect(_address("/", request), status_code=_SEE_OTHER)
        return _form(request)

    @post("/login")
    async def log_in(
        self,
        request: Request[Any, Any, Any],
        authenticator: NamedDependency[Authenticator],
        audit: NamedDependency[AuditLog],
    ) -> Response[Any]:
        """Start a session of the key."""
        secret = (await request.form()).get("key")
        try:
            key = await authenticator.verify(request, secret.strip() if isinstance(secret, str) else "")
            if "read" not in key.allowed:
                raise InvalidKey(f"the key {key.name} cannot search: it lacks the scope `read`")
            await audit.record(request, "login", login=key.name)
        except RetrievalError as error:
            return _form(request, describe_error(error), error.headers if isinstance(error, Refusal) else None)
        cookie = _cookie(authenticator, authenticator.sessions.begin(key.sha256), LIFETIME_S)
        return Redirect(_address("/", request), status_code=_SEE_OTHER, cookies=[cookie])

    @post("/logout")
    async def log_out(
        self,
        request: Request[Any, Any, Any],
        authenticator: NamedDependency[Authenticator],
        audit: NamedDependency[AuditLog],
    ) -> Response[Any]:
        """End the session, here and in the browser."""
        token = read_cookie(request)
        if token and request.auth.by_cookie:
            authenticator.sessions.end(token)
            await audit.record(request, "logout")
        return Redirect("/login", status_code=_SEE_OTHER, cookies=[_cookie(authenticator, "", 0)], headers=_CLEAR_CACHE)


def redirect_to_login(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """The answer of a page to a request without a key: browsers go to the login form, programs get a problem document."""
    if "text/html" not in request.headers.get("accept", ""):
        return respond(request, error)
    return Redirect(_address("/login", request), status_code=_SEE_OTHER)


def _form(request: Request[Any, Any, Any], problem: Problem | None = None, headers: Any = None) -> Template:
    return Template(
        "login.html",
        context={"problem": problem, "action": _address("/login", request)},
        status_code=problem.status if problem else 200,
        headers=headers,
    )


def _address(path: str, request: Request[Any, Any, Any]) -> str:
    """`path` with the query of this request. The path is fixed, so the redirect never leaves this service."""
    query = request.scope["query_string"].decode("latin-1")
    return f"{path}?{query}" if query else path


def _cookie(authenticator: Authenticator, value: str, max_age_s: int) -> Cookie:
    return Cookie(
        key=COOKIE,
        value=value,
        max_age=max_age_s,
        httponly=True,
        samesite="strict",
        secure=authenticator.sessions.secure,
    )
