"""The OpenAPI document matches the service."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import jsonschema_rs
import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from retrieval.index.filters import Filters
from retrieval.model_status import ModelStatus
from retrieval.search.hits import StudyRecord
from retrieval.search.rerank import NONE, PRESETS, Preset
from service.api.examples import MODEL_EXAMPLE, SEARCH_EXAMPLE, STUDY_EXAMPLE
from service.api.openapi import COMPONENT_NAMES
from service.api.problems import Problem
from service.api.schemas import (
    BatchDocument,
    FacetQuery,
    FacetsDocument,
    Feedback,
    FeedbackDocument,
    HealthDocument,
    ModelsDocument,
    SearchBatch,
    SearchQuery,
    TextQuery,
)
from service.experiments.entities import ShownResult

PATHS = {
    ("post", "/v1/search"),
    ("post", "/v1/search/batch"),
    ("post", "/v1/search/text"),
    ("post", "/v1/facets"),
    ("post", "/v1/search/image"),
    ("get", "/v1/studies/{study_id}"),
    ("get", "/v1/studies/{study_id}/similar"),
    ("post", "/v1/feedback"),
    ("get", "/v1/models"),
    ("put", "/v1/models/active"),
    ("get", "/v1/images/{sha256}/thumbnail"),
    ("get", "/v1/images/{sha256}/thumbnail.webp"),
    ("get", "/health/live"),
    ("get", "/health/ready"),
}
DOCUMENTS = {
    COMPONENT_NAMES.get(document, document.__name__): document
    for document in (
        ShownResult,
        BatchDocument,
        FacetsDocument,
        StudyRecord,
        FeedbackDocument,
        ModelStatus,
        ModelsDocument,
        HealthDocument,
        Problem,
    )
}


def operations(openapi: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(method, path): item for path, methods in openapi["paths"].items() for method, item in methods.items()}


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_every_endpoint_is_described_and_nothing_else(openapi: dict[str, Any]) -> None:
    assert openapi["openapi"].startswith("3.1")
    assert "research use only" in openapi["info"]["description"]
    assert set(operations(openapi)) == PATHS
    identifiers = [operation["operationId"] for operation in operations(openapi).values()]
    assert len(set(identifiers)) == len(identifiers)
    assert all(operation["summary"] and operation["description"] for operation in operations(openapi).values())


def test_every_reference_resolves(openapi: dict[str, Any]) -> None:
    found = set(references(openapi))
    assert found
    for reference in found:
        node: Any = openapi
        for key in reference.removeprefix("#/").split("/"):
            node = node[key]


def test_every_json_answer_has_an_example_that_its_schema_accepts(openapi: dict[str, Any]) -> None:
    for key, operation in operations(openapi).items():
        for status, answer in operation["responses"].items():
            for media_type, content in answer.get("content", {}).items():
                if media_type == "image/webp":
                    continue
                assert content.get("examples"), (key, status)
                document = DOCUMENTS[content["schema"]["$ref"].rpartition("/")[2]]
                for example in content["examples"].values():
                    msgspec.convert(example["value"], document)


def test_every_json_request_has_examples_that_its_schema_accepts(openapi: dict[str, Any]) -> None:
    checked = 0
    for key, operation in operations(openapi).items():
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content is None:
            continue
        examples = content["schema"].get("examples", [])
        validator = jsonschema_rs.validator_for(content["schema"] | {"components": openapi["components"]})
        for example in examples:
            validator.validate(example)
            checked += 1
        assert not validator.is_valid([]), key
    assert checked >= 5


def test_every_refusal_is_a_problem_document_of_its_status(openapi: dict[str, Any]) -> None:
    for key, operation in operations(openapi).items():
        for status, answer in operation["responses"].items():
            if int(status) >= 400:
                assert list(answer["content"]) == ["application/problem+json"], (key, status)
                for example in answer["content"]["application/problem+json"]["examples"].values():
                    assert example["value"]["status"] == int(status)


def test_activation_documents_its_refusals_and_force(openapi: dict[str, Any]) -> None:
    problems = operations(openapi)["put", "/v1/models/active"]["responses"]["409"]["content"]
    assert {"no_collection", "counts_differ"} <= problems["application/problem+json"]["examples"].keys()
    choice = openapi["components"]["schemas"]["ModelChoice"]
    assert choice["properties"]["force"]["default"] is False
    assert choice["required"] == ["model"]


def test_request_example_is_a_request(openapi: dict[str, Any]) -> None:
    body = operations(openapi)["post", "/v1/search/text"]["requestBody"]["content"]["application/json"]["schema"]
    (example,) = body["examples"]
    assert msgspec.convert(example, TextQuery).filters == Filters(
        all=("Cardiomegaly",), none=("Pneumothorax",), view="frontal"
    )


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/v1/search", SearchQuery),
        ("/v1/search/batch", SearchBatch),
        ("/v1/facets", FacetQuery),
        ("/v1/feedback", Feedback),
    ],
)
def test_request_examples_have_the_shape_of_their_bodies(openapi: dict[str, Any], path: str, query: type) -> None:
    body = operations(openapi)["post", path]["requestBody"]["content"]["application/json"]["schema"]
    assert body["examples"]
    for example in body["examples"]:
        msgspec.convert(example, query)


def test_the_short_routes_accept_every_built_in_preset() -> None:
    assert set(get_args(Preset)) == {*PRESETS, NONE}


def test_limits_are_in_the_document(openapi: dict[str, Any]) -> None:
    query = openapi["components"]["schemas"]["TextQuery"]["properties"]
    assert (query["k"]["minimum"], query["k"]["maximum"], query["k"]["default"]) == (1, 100, 10)
    assert (query["text"]["minLength"], query["text"]["maxLength"]) == (1, 2000)


def test_examples_have_the_shape_of_the_documents() -> None:
    for value, document in (
        (SEARCH_EXAMPLE, ShownResult),
        (STUDY_EXAMPLE, StudyRecord),
        (MODEL_EXAMPLE, ModelStatus),
    ):
        assert msgspec.to_builtins(msgspec.convert(value, document)) == value


def test_hit_parts_of_the_example_add_up_to_its_score() -> None:
    for hit in SEARCH_EXAMPLE["hits"]:
        assert sum(hit["parts"].values()) == pytest.approx(hit["score"])


@pytest.mark.parametrize("path", ["/schema", "/schema/openapi.json", "/schema/openapi.yaml"])
def test_reference_is_served_in_each_form(client: TestClient[Litestar], path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert "/v1/search/text" in answer.text
