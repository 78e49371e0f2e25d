"""The API reference at `/schema`, rendered here: Litestar's own pages load their scripts from other hosts."""

from __future__ import annotations

import json
from typing import Any

from jinja2 import Environment
from litestar import Request
from litestar.openapi.plugins import OpenAPIRenderPlugin

_METHODS = ("get", "put", "post", "delete")


class ReferencePlugin(OpenAPIRenderPlugin):
    """Renders the OpenAPI document as one page without scripts."""

    def __init__(self, templates: Environment) -> None:
        super().__init__(path="/", media_type="text/html")  # type: ignore[arg-type]
        self._templates = templates

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The page, UTF-8."""
        operations = [
            {"path": path, "method": method, **item[method]}
            for path, item in openapi_schema["paths"].items()
            for method in _METHODS
            if method in item
        ]
        page = self._templates.get_template("reference.html").render(
            info=openapi_schema["info"],
            tags=openapi_schema["tags"],
            operations=operations,
            schemas=openapi_schema["components"]["schemas"],
            pretty=lambda value: json.dumps(value, indent=2),
        )
        return page.encode()
