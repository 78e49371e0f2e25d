"""The OpenAPI document without its texts is the contract with clients. Changes belong in the changelog."""

from __future__ import annotations

from typing import Any

from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.json import JSONSnapshotExtension

TEXTS = ("description", "summary", "examples")


def without_texts(node: Any) -> Any:
    """The document without descriptions, summaries and examples. Properties with such names stay."""
    if isinstance(node, list):
        return [without_texts(value) for value in node]
    if not isinstance(node, dict):
        return node
    kept = {}
    for name, value in node.items():
        if name in TEXTS:
            continue
        if name in ("properties", "schemas", "paths") and isinstance(value, dict):
            kept[name] = {key: without_texts(each) for key, each in value.items()}
        else:
            kept[name] = without_texts(value)
    return kept


def test_the_contract_with_clients_has_not_changed(openapi: dict[str, Any], snapshot: SnapshotAssertion) -> None:
    contract = without_texts(openapi)
    del contract["info"], contract["tags"]
    assert contract == snapshot(extension_class=JSONSnapshotExtension)


def test_texts_are_not_part_of_the_contract() -> None:
    document = {"properties": {"summary": {"type": "string", "description": "Text."}}, "examples": [1]}
    assert without_texts(document) == {"properties": {"summary": {"type": "string"}}}
