"""Study ids in paths: the text after `/v1/studies/` is one id, even if it contains slashes."""

from __future__ import annotations

from urllib.parse import quote, unquote, unquote_to_bytes

from litestar.enums import ScopeType
from litestar.exceptions import ValidationException
from litestar.types import ASGIApp, Receive, Scope, Send

from retrieval.records import LIMIT_ID

_STUDIES = "/v1/studies/"
_SIMILAR = "/similar"


class StudyIdEscaping:
    """Escapes study ids before routing, because Litestar splits the unescaped path at slashes.

    Wraps the whole application. A path that ends in `/similar` requests similar cases. If an id itself ends in `/similar`
    or in a slash, clients must escape that slash (`%2F`).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == ScopeType.HTTP:
            path = scope["raw_path"].partition(b"?")[0].decode("latin-1")  # some servers append the query string
            if path.startswith(_STUDIES):
                scope["path"] = _escape_study_id(path.removeprefix(_STUDIES))
        await self._app(scope, receive, send)


def _escape_study_id(rest: str) -> str:
    rest = rest.removesuffix("/")
    escaped = rest.removesuffix(_SIMILAR) or rest
    similar = rest.removeprefix(escaped)
    return _STUDIES + quote(unquote_to_bytes(escaped), safe="") + similar


def unescape_study_id(part: str) -> str:
    """The study id in a path segment that `StudyIdEscaping` escaped.

    Raises:
        ValidationException: it is longer than `LIMIT_ID`.
    """
    study_id = unquote(part)
    if len(study_id) > LIMIT_ID:
        raise ValidationException(extra=[{"key": "study_id", "message": f"Expected `str` of length <= {LIMIT_ID}"}])
    return study_id
