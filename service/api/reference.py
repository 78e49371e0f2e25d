"""The API reference at `/schema`, rendered here: Litestar's own pages load their scripts from other hosts."""

from __future__ import annotations

import json
from typing import Any

from jinja2 import Environment
from litestar import MediaType, Request
from litestar.openapi.plugins import OpenAPIRenderPlugin

_METHODS = ("get", "put", "post", "delete")


class ReferencePlugin(OpenAPIRenderPlugin):
    """Renders the OpenAPI document as one page without scripts."""

    def __init__(self, templates: Environment) -> None:
        super().__init__(path="/", media_type=MediaType.HTML)
        self._templates = templates

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The page, UTF-8."""
        document = json.loads(self.render_json(request, openapi_schema))  # defaults are still objects before this
        schemas = document["components"]["schemas"]
        operations = [
            {"path": path, "method": method, "bodies": _bodies(item[method], schemas), **item[method]}
            for path, item in document["paths"].items()
            for method in _METHODS
            if method in item
        ]
        page = self._templates.get_template("reference.html").render(
            info=document["info"],
            tags=document["tags"],
            operations=operations,
            schemas=schemas,
            pretty=lambda value: json.dumps(value, indent=2),
        )
        return page.encode()


def _bodies(operation: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """What may be sent to an operation, by media type: an example where there is one, its schema otherwise."""
    bodies = {}
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        schema = content["schema"]
        name = schema.get("$ref", "").rpartition("/")[2]
        bodies[media_type] = schema["examples"][0] if "examples" in schema else schemas.get(name, schema)
    return bodies
