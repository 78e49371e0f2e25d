"""Study ids in paths: what stands behind `/v1/studies/`, with or without escapes, is one id."""

from __future__ import annotations

from urllib.parse import quote, unquote, unquote_to_bytes

from litestar.enums import ScopeType
from litestar.exceptions import ValidationException
from litestar.types import ASGIApp, Receive, Scope, Send

from retrieval.records import LIMIT_ID

_STUDIES = "/v1/studies/"
_SIMILAR = "/similar"


class StudyPaths:
    """Wraps the whole application, because Litestar splits the path at slashes after the server has unescaped it.

    It is given the id escaped, as one part of the path. A path that ends in `/similar` asks for similar cases; in an id
    that ends so, and in one that ends in a slash, that slash has to be escaped (`%2F`).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == ScopeType.HTTP:
            path = scope["raw_path"].partition(b"?")[0].decode("latin-1")  # some clients put the query there, too
            if path.startswith(_STUDIES):
                scope["path"] = _with_one_id(path.removeprefix(_STUDIES))
        await self._app(scope, receive, send)


def _with_one_id(rest: str) -> str:
    rest = rest.removesuffix("/")
    escaped = rest.removesuffix(_SIMILAR) or rest
    similar = rest.removeprefix(escaped)
    return _STUDIES + quote(unquote_to_bytes(escaped), safe="") + similar


def read_study_id(part: str) -> str:
    """The id that a part of a path holds, as `StudyPaths` escaped it.

    Raises:
        ValidationException: it is longer than an id can be.
    """
    study_id = unquote(part)
    if len(study_id) > LIMIT_ID:
        raise ValidationException(extra=[{"key": "study_id", "message": f"Expected `str` of length <= {LIMIT_ID}"}])
    return study_id
