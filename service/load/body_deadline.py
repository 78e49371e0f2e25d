"""Timeout for request bodies: a client that sends a byte now and then would keep its connection open forever."""

from __future__ import annotations

import asyncio

from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, HTTPReceiveMessage, Receive, Scope, Send

from service.refusals import UploadAborted, UploadTooSlow


class BodyDeadline(ASGIMiddleware):
    """Ends requests whose body is not complete `limit_s` seconds after reading began."""

    scopes = (ScopeType.HTTP,)

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Pass the request on with a `receive` that raises UploadTooSlow or UploadAborted."""
        deadline: float | None = None
        complete = False

        async def receive_in_time() -> HTTPReceiveMessage:
            nonlocal deadline, complete
            if complete:  # only the disconnect follows, which may take long
                return await receive()  # type: ignore[return-value]
            deadline = deadline or asyncio.get_running_loop().time() + self._limit_s
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise UploadTooSlow(
                    f"the request's body was not complete after {self._limit_s:g} s",
                    headers={"Connection": "close"},  # the rest of the body would be read as the next request
                ) from None
            if message["type"] == "http.disconnect":
                raise UploadAborted("the connection was closed before the request's body was complete")
            complete = not message.get("more_body", False)
            return message  # type: ignore[return-value]

        await next_app(scope, receive_in_time, send)
