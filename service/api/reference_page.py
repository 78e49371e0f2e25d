"""The API reference page at `/schema`. Litestar's own pages load scripts from other hosts."""

from __future__ import annotations

import json
from typing import Any

from jinja2 import Environment
from litestar import MediaType, Request
from litestar.openapi.plugins import OpenAPIRenderPlugin

_METHODS = ("get", "put", "post", "delete")


class ReferencePlugin(OpenAPIRenderPlugin):
    """Renders the OpenAPI document as one HTML page without scripts."""

    def __init__(self, templates: Environment) -> None:
        super().__init__(path="/", media_type=MediaType.HTML)
        self._templates = templates

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The page, encoded in UTF-8."""
        document = json.loads(self.render_json(request, openapi_schema))  # before rendering, defaults are objects
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
    """The request bodies of an operation by media type: an example if there is one, else the schema."""
    bodies = {}
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        schema = content["schema"]
        name = schema.get("$ref", "").rpartition("/")[2]
        bodies[media_type] = schema["examples"][0] if "examples" in schema else schemas.get(name, schema)
    return bodies
