"""Thumbnails in pages of another origin: the Qdrant dashboard shows them beside the payload, and no other page does."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import urlsplit

from litestar.connection import ASGIConnection

from service.access.auth import CrossSite

ResourcePolicy = Literal["same-origin", "cross-origin"]
"""Value of `Cross-Origin-Resource-Policy`: which pages may use the answer."""


def resource_policy(connection: ASGIConnection[Any, Any, Any, Any], origins: tuple[str, ...]) -> ResourcePolicy:
    """Which pages may use the answer to this request for an image; `origins` are those of the dashboard.

    An image that a page loads is requested without an `Origin` header, so the `Referer` names the page. A page can leave it
    out, but cannot name another page there. The session cookie is `SameSite=Strict`: browsers send it from a dashboard on
    the same site only (`https://qdrant.example.org` with `https://cxr.example.org`).

    Raises:
        CrossSite: a page of another origin, which is not the dashboard.
    """
    if connection.headers.get("sec-fetch-site") in ("same-origin", "none"):
        return "same-origin"
    page = _origin_of(connection.headers.get("referer", ""))
    if page in origins:
        return "cross-origin"
    if connection.headers.get("sec-fetch-site") is None:  # not a browser, or an old one, which the policy still binds
        return "same-origin"
    raise CrossSite(
        "pages of another site may not show this image; CXR_SERVICE_DASHBOARD_ORIGINS names the origins of the dashboard"
    )


def _origin_of(address: str) -> str:
    """Scheme, host and port of `address`; empty if it is not one."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc}".lower() if parts.netloc else ""
