"""`/v1/search`, its batches, and `/v1/facets`: the same query as in Python, as JSON."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from retrieval.catalog import Catalog
from retrieval.index.filters import Filters
from retrieval.search.query import Case, Query
from service.api.problems import CHOICES
from tests.service.conftest import Client, assert_problem, bearer

QUERY = Query(
    text="left pleural effusion, no nodule",
    like=(Case(study_id="2"),),
    unlike=(Case(study_id="1"),),
    filters=Filters(view="frontal", has_report=True),
    match="hybrid",
    rerank={"image": 0.5, "findings": 0.5},
    diversity=0.2,
    collapse="study",
    facets=("present", "view"),
    k=4,
)


def without_times(document: dict[str, Any]) -> dict[str, Any]:
    """The document without times and without the fields that only the service adds."""
    return {name: value for name, value in document.items() if name not in ("timings_ms", "search_id", "experiment")}


def test_a_query_means_the_same_over_http_and_in_python(client: Client, shared_catalog: Catalog) -> None:
    answer = client.post("/v1/search", json=msgspec.to_builtins(QUERY))
    assert answer.status_code == 200, answer.text
    result = shared_catalog.retriever().search(QUERY).to_dict()
    assert without_times(answer.json()) == without_times(json.loads(json.dumps(result)))
    assert answer.json()["facets"].keys() == {"present", "view"}
    assert "encode;dur=" in answer.headers["server-timing"]


def test_a_base64_image_is_combined_with_the_text(client: Client, png: bytes) -> None:
    body = {"text": "effusion", "image": base64.b64encode(png).decode(), "model": "tiny-b", "k": 2}
    found = client.post("/v1/search", json=body).json()
    assert found["model"] == "tiny-b"
    assert len(found["hits"]) == 2
    assert_problem(client.post("/v1/search", json=body | {"image": "bm90IGFuIGltYWdl"}), 422, "wrong_type")
    assert_problem(client.post("/v1/search", json=body | {"image": "%"}), 400, "invalid_request")


def test_bodies_with_images_may_be_as_large_as_uploads(client: Client) -> None:
    large = base64.b64encode(b"x" * 1_000_000).decode()
    assert_problem(client.post("/v1/search", json={"image": large}), 422, "wrong_type")
    assert_problem(client.post("/v1/search/text", json={"text": large}), 413, "request_too_large")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "invalid_request"),
        ({"text": "x", "k": 101}, 400, "invalid_request"),
        ({"text": "x", "candidates": 1001}, 400, "invalid_request"),
        ({"text": "x", "diversity": 2}, 400, "invalid_request"),
        ({"text": "x", "match": "fuzzy"}, 400, "invalid_request"),
        ({"text": "x", "rerank": "best"}, 400, "invalid_request"),
        ({"text": "x", "rerank": {"image": -1}}, 400, "invalid_request"),
        ({"text": "x", "facets": ["study_id"]}, 400, "invalid_request"),
        ({"text": "x", "filters": {"date_from": "2024-02-30"}}, 400, "invalid_request"),
        ({"text": "x", "filters": {"all": ["Cardiomegali"]}}, 400, "unknown_finding"),
        ({"study": {"study_id": "nobody"}}, 404, "unknown_study"),
        ({"study": {"study_id": "1"}, "match": "bm25"}, 400, "invalid_request"),
        ({"text": "x", "model": "nobody"}, 404, "unknown_model"),
        ({"text": "x", "surprise": 1}, 400, "invalid_request"),
    ],
)
def test_invalid_queries_are_refused_with_a_code(client: Client, body: dict[str, Any], status: int, code: str) -> None:
    assert_problem(client.post("/v1/search", json=body), status, code)


def test_an_invalid_choice_is_refused_with_the_valid_ones(client: Client) -> None:
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("match: Invalid enum value 'x'; expected dense, bm25, hybrid", {"text": "a", "match": "x"}),
        ("filters.view: Invalid enum value 'x'; expected frontal,", {"text": "a", "filters": {"view": "x"}}),
        ("facets[1]: Invalid enum value 'x'; expected present, uncertain,", {"text": "a", "facets": ["view", "x"]}),
    ]
    for message, body in bodies:
        assert assert_problem(client.post("/v1/search", json=body), 400, "invalid_request")["detail"].startswith(
            message
        )


def test_refusals_list_the_choices_of_the_openapi_document(client: Client) -> None:
    description = client.get("/schema/openapi.json").json()
    similar = description["paths"]["/v1/studies/{study_id}/similar"]["get"]["parameters"]
    fields = [(parameter["name"], parameter["schema"]) for parameter in similar]
    for name, schema in description["components"]["schemas"].items():
        if not name.endswith("Document"):  # these are answers
            fields += schema["properties"].items()
    found = {}
    for name, schema in fields:
        if choices := schema.get("items", schema).get("enum"):
            found[name] = [choice for choice in choices if choice is not None]
    assert found == {name: list(get_args(choices)) for name, choices in CHOICES.items()}


def test_a_batch_answers_each_query(client: Client) -> None:
    queries = [{"text": "effusion", "k": 2}, {"study": {"study_id": "1"}, "k": 3}, {"text": "heart", "match": "bm25"}]
    found = client.post("/v1/search/batch", json={"queries": queries}).json()["results"]
    assert len(found) == 3
    for query, result in zip(queries, found, strict=True):
        alone = client.post("/v1/search", json=query).json()
        assert [hit["image_id"] for hit in result["hits"]] == [hit["image_id"] for hit in alone["hits"]]
    assert_problem(client.post("/v1/search/batch", json={"queries": []}), 400, "invalid_request")
    assert_problem(client.post("/v1/search/batch", json={"queries": queries[:1] * 33}), 400, "invalid_request")
    bad = {"queries": [*queries, {"study": {"study_id": "nobody"}}]}
    assert_problem(client.post("/v1/search/batch", json=bad), 404, "unknown_study")


def test_facets_count_the_images_under_the_filters(client: Client, shared_catalog: Catalog) -> None:
    body = {"fields": ["present", "sides"], "filters": {"view": "frontal"}, "model": "tiny-a"}
    found = client.post("/v1/facets", json=body).json()
    expected = shared_catalog.retriever("tiny-a").facet("present", Filters(view="frontal"))
    assert found == {"model": "tiny-a", "facets": {"present": expected, "sides": found["facets"]["sides"]}}
    assert found["facets"]["sides"]["left"] > 0
    assert_problem(client.post("/v1/facets", json={"fields": []}), 400, "invalid_request")
    assert_problem(client.post("/v1/facets", json={"fields": ["report_group"]}), 400, "invalid_request")


@pytest.mark.parametrize(
    ("filters", "code"),
    [
        ({"date_from": "2024-13-01"}, "invalid_request"),
        ({"absent": ["Opacity/left"]}, "invalid_request"),
        ({"none": ["Pleural Effusion/lft"]}, "invalid_request"),
        ({"sides": ["lefft"]}, "invalid_request"),
        ({"all": ["Cardiomegali"]}, "unknown_finding"),
    ],
)
@pytest.mark.parametrize("rest", [("/v1/facets", {"fields": ["view"]}), ("/v1/search", {"text": "heart"})])
def test_filters_that_nothing_can_match_are_refused(
    client: Client, rest: tuple[str, dict[str, Any]], filters: dict[str, Any], code: str
) -> None:
    address, body = rest
    assert_problem(client.post(address, json=body | {"filters": filters}), 400, code)


@pytest.mark.parametrize("body", [b'{"text": "f\xfcr"}', b'{"\xff": 1}'])
@pytest.mark.parametrize("address", ["/v1/search", "/v1/search/text", "/v1/search/batch", "/v1/facets", "/v1/feedback"])
def test_bytes_that_are_not_utf_8_are_refused(client: Client, address: str, body: bytes) -> None:
    assert_problem(
        client.post(address, content=body, headers={"content-type": "application/json"}), 400, "invalid_request"
    )


def test_counts_are_recorded_with_their_study(keyed: Client, keys: dict[str, str], keyed_home: Path) -> None:
    def counted(study_id: str) -> dict[str, Any]:
        body = {"fields": ["present", "mesh"], "filters": {"study_id": study_id, "view": "frontal"}}
        answer = keyed.post("/v1/facets", json=body, headers=bearer(keys["read"]))
        assert answer.status_code == 200
        (log,) = (keyed_home / "audit").glob("*.jsonl")
        line: dict[str, Any] = json.loads(log.read_text().splitlines()[-1])
        assert line.pop("request_id") == answer.headers["x-request-id"]
        return line

    line = counted("3")
    assert (line["action"], line["studies"], line["fields"]) == ("count_facets", ["3"], ["present", "mesh"])
    assert line["filters"] == {"study_id": True, "view": "frontal"}
    assert counted("Jane Doe")["studies"] == []


def test_each_search_of_a_batch_is_recorded_without_its_text(
    keyed: Client, keys: dict[str, str], keyed_home: Path
) -> None:
    queries = [{"text": "zanzibar effusion", "k": 2}, {"study": {"study_id": "3"}, "text": "zanzibar", "k": 1}]
    answer = keyed.post("/v1/search/batch", json={"queries": queries}, headers=bearer(keys["read"]))
    assert answer.status_code == 200
    (log,) = (keyed_home / "audit").glob("*.jsonl")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    mine = [line for line in lines if line["request_id"] == answer.headers["x-request-id"]]
    assert [(line["action"], line["kind"], line["k"]) for line in mine] == [
        ("search", "text", 2), ("search", "text+study", 1),
    ]  # fmt: skip
    assert mine[0]["studies"] == list(dict.fromkeys(hit["study_id"] for hit in answer.json()["results"][0]["hits"]))
    assert "zanzibar" not in log.read_text()
