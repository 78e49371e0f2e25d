"""The page of the HTTP routes, from the OpenAPI document."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from litestar.testing import TestClient

from docs.reference_markdown import NOTICE, anchor, cell, code_list, escape
from retrieval.catalog import Catalog
from retrieval.settings import RetrievalSettings
from service.app import create_app
from service.settings import ServiceSettings


def render_http() -> str:
    """Every route with its parameters, bodies and answers, from the OpenAPI document."""
    document = load_openapi()
    lines = [
        NOTICE + "# HTTP",
        "",
        "A running service shows the same at `/schema`, and as a document at `/schema/openapi.json`. Send a key as",
        "`Authorization: Bearer KEY` or `X-API-Key: KEY` once there is one. Errors are problem documents (RFC 9457) with a",
        "stable [code](errors.md).",
        "",
        "| Route | What it does |",
        "|---|---|",
    ]
    operations = [
        (method.upper(), path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in ("get", "put", "post", "delete")
    ]
    for method, path, operation in operations:
        lines.append(f"| [`{method} {path}`](#{anchor(f'{method} {path}')}) | {cell(operation.get('summary', ''))} |")
    for method, path, operation in operations:
        lines += ["", f"## {method} {path}", "", escape(operation.get("description") or operation.get("summary", ""))]
        lines += _parameters(operation) + _bodies(operation) + _answers(operation)
    lines += ["", "## Documents", ""]
    for name, schema in sorted(document["components"]["schemas"].items()):
        lines += _schema(name, schema)
    return "\n".join(lines).rstrip() + "\n"


def load_openapi() -> dict[str, Any]:
    """The OpenAPI document of a service on an empty home."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Catalog(RetrievalSettings(home=Path(folder), index=None, device="cpu")) as catalog,
        TestClient(
            create_app(ServiceSettings(metrics=True, audit=False), catalog), base_url="http://127.0.0.1:8000"
        ) as client,
    ):
        document: dict[str, Any] = client.get("/schema/openapi.json").raise_for_status().json()
    return document


def _parameters(operation: dict[str, Any]) -> list[str]:
    found = operation.get("parameters", [])
    if not found:
        return []
    rows = ["", "| Parameter | In | Type | Meaning |", "|---|---|---|---|"]
    for each in found:
        mark = ", required" if each.get("required") else ""
        meaning = cell(each.get("description") or each["schema"].get("description", ""))
        rows.append(f"| `{each['name']}` | {each['in']}{mark} | {_type(each['schema'])} | {meaning} |")
    return rows


def _bodies(operation: dict[str, Any]) -> list[str]:
    lines = []
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        lines += ["", f"Body: `{media_type}`, {_type(content['schema'])}"]
        for example in content["schema"].get("examples", [])[:1]:
            lines += ["", "```json", json.dumps(example, indent=2), "```"]
    return lines


def _answers(operation: dict[str, Any]) -> list[str]:
    rows = ["", "| Status | Answer |", "|---|---|"]
    for status, answer in sorted(operation["responses"].items()):
        types = {_type(content["schema"]) for content in answer.get("content", {}).values() if "schema" in content}
        rows.append(f"| {status} | {cell(answer.get('description', ''))} {' '.join(sorted(types - {'any'}))} |")
    return rows


def _schema(name: str, schema: dict[str, Any]) -> list[str]:
    return [f"### {name}", "", escape(schema.get("description", "")), *_schema_rows(schema), ""]


def _schema_rows(schema: dict[str, Any]) -> list[str]:
    properties = schema.get("properties", {})
    if not properties:
        values = schema.get("enum")
        return ["", f"One of {code_list(values)}."] if values else []
    required = set(schema.get("required", ()))
    rows = ["", "| Field | Type | Meaning |", "|---|---|---|"]
    for name, each in properties.items():
        mark = " (required)" if name in required else ""
        rows.append(f"| `{name}`{mark} | {_type(each)} | {cell(each.get('description', ''))} |")
    return rows


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{anchor(name)})"
    for key in ("oneOf", "anyOf", "allOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(_type(each) for each in schema[key]))
    if "enum" in schema:
        return ", ".join("null" if value is None else f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if isinstance(schema.get("type"), list):
        return " or ".join(schema["type"])
    return str(schema.get("type", "any"))
