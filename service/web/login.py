"""`/login` and `/logout`: the page's way in where keys are needed. No script; the cookie is not the key."""

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
# Thumbnails stay in the browser's cache for a year otherwise, on a workstation that others use next.
_FORGET = {"Clear-Site-Data": '"cache"'}


class LoginController(Controller):
    """A form for the key, and the way out."""

    path = "/"
    include_in_schema = False
    opt = OPEN

    @get("/login", sync_to_thread=False)
    def show(self, request: Request[Any, Any, Any], authenticator: NamedDependency[Authenticator]) -> Response[Any]:
        """The form. What the address holds beside it is searched for after the login."""
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
        """Begin a session of the key."""
        secret = (await request.form()).get("key")
        try:
            key = await authenticator.verify(request, secret.strip() if isinstance(secret, str) else "")
            if "read" not in key.allowed:
                raise InvalidKey(f"the key {key.name} may not search: it has not the scope read")
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
        return Redirect("/login", status_code=_SEE_OTHER, cookies=[_cookie(authenticator, "", 0)], headers=_FORGET)


def ask_to_log_in(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """The answer of pages to who has no key: browsers are led to the form, programs are told."""
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
    """`path` with the query of this request. The path is ours: nobody can be led elsewhere."""
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
