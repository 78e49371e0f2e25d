"""`/v1/search` and `/v1/studies`: answers, and problems of invalid requests."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from benchmarks.image_forms import dicom, png16
from retrieval.catalog import Catalog
from retrieval.index.filters import Filters
from tests.service.conftest import Client, assert_problem


def test_text_search_returns_hits_that_match_the_filters(client: Client) -> None:
    query = {"text": "heart enlarged", "k": 4, "filters": {"all": ["cardiomegaly"], "view": "frontal"}}
    found = client.post("/v1/search/text", json=query).json()
    assert found["model"] == "tiny-a"
    assert found["interpreted"]["filters"] == {"all": ["Cardiomegaly"], "view": "frontal"}
    assert 1 <= len(found["hits"]) <= 4
    for hit in found["hits"]:
        assert "Cardiomegaly" in hit["present"]
        assert hit["view"] == "frontal"
        assert sum(hit["parts"].values()) == pytest.approx(hit["score"], abs=1e-4)
        assert set(hit["report"]) == {"findings", "impression", "indication", "comparison"}


def test_http_gives_the_same_document_as_the_engine(client: Client, shared_catalog: Catalog) -> None:
    found = client.post("/v1/search/text", json={"text": "small effusion", "k": 5}).json()
    result = shared_catalog.retriever().search_text("small effusion", k=5).to_dict()
    for document in (found, result):
        document.pop("timings_ms")
    assert found.pop("search_id")
    assert found.pop("experiment") is None
    assert found == json.loads(json.dumps(result))


def test_negated_findings_become_a_filter_that_the_answer_shows(client: Client) -> None:
    found = client.post("/v1/search/text", json={"text": "cardiomegaly, no pleural effusion", "k": 20}).json()
    assert found["interpreted"]["denied"] == ["Pleural Effusion"]
    assert found["hits"]
    assert all("Pleural Effusion" not in hit["present"] for hit in found["hits"])


def test_rerank_none_orders_by_image_alone(client: Client) -> None:
    found = client.post("/v1/search/text", json={"text": "heart", "rerank": "none"}).json()
    assert all(set(hit["parts"]) == {"image"} for hit in found["hits"])


def test_an_answer_says_how_the_pixels_of_its_image_were_rendered(client: Client, png: bytes) -> None:
    values = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    for content, notes in (
        (png16(values), ["16 bits, of which 12 are used"]),
        (dicom(values, WindowCenter="60000", WindowWidth="9"), ["window without contrast: percentiles 0.5 to 99.5"]),
        (png, None),
    ):
        found = client.post("/v1/search/image", files={"image": ("a", content)}).json()
        assert found["interpreted"].get("image_notes") == notes
        assert found["hits"]


@pytest.mark.parametrize("value", [0, 7, 65535])
def test_an_upload_with_a_single_grey_value_is_refused(client: Client, value: int) -> None:
    for content in (png16(np.full((9, 9), value)), dicom(np.full((9, 9), value, np.uint16), BitsStored=16, HighBit=15)):
        answer = client.post("/v1/search/image", files={"image": ("a", content)})
        assert_problem(answer, 422, "no_contrast")


def test_image_search_takes_a_file_and_json_filters(client: Client, png: bytes) -> None:
    form = {"k": "3", "filters": '{"view": "lateral"}', "model": "tiny-b"}
    answer = client.post("/v1/search/image", files={"image": ("a.png", png, "image/png")}, data=form)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["model"] == "tiny-b"
    assert len(found["hits"]) == 3
    assert {hit["view"] for hit in found["hits"]} == {"lateral"}


def test_similar_leaves_out_the_study_itself(client: Client, shared_catalog: Catalog) -> None:
    found = client.get("/v1/studies/2/similar?with=Pleural%20Effusion&without=Cardiomegaly&k=5").json()
    expected = shared_catalog.retriever().search_similar(
        "2", filters=Filters(all=("Pleural Effusion",), none=("Cardiomegaly",)), k=5
    )
    assert [hit["image_id"] for hit in found["hits"]] == [hit.image_id for hit in expected.hits]
    assert found["hits"]
    assert all(hit["study_id"] != "2" for hit in found["hits"])


def test_study_has_images_labels_and_report(client: Client) -> None:
    study = client.get("/v1/studies/1").json()
    assert [image["view"] for image in study["images"]] == ["frontal", "lateral"]
    assert study["present"] == ["Cardiomegaly"]
    assert study["report"]["impression"] == "Mild cardiomegaly."


def test_thumbnail_is_webp_and_cached(client: Client) -> None:
    sha256 = client.get("/v1/studies/1").json()["images"][0]["image_sha256"]
    answer = client.get(f"/v1/images/{sha256}/thumbnail")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/webp"
    assert "immutable" in answer.headers["cache-control"]
    assert answer.content[:4] == b"RIFF"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"text": "heart", "k": 0}, "k"),
        ({"text": "heart", "k": 101}, "k"),
        ({"text": "heart", "k": "ten"}, "k"),
        ({"text": ""}, "text"),
        ({"text": "   "}, "text"),
        ({"text": "x" * 2001}, "text"),
        ({"text": 7}, "text"),
        ({"k": 3}, "body"),
        ([], "body"),
        ({"text": "heart", "rerank": "fancy"}, "rerank"),
        ({"text": "heart", "limit": 3}, "body"),
        ({"text": "heart", "filters": {"some": []}}, "filters"),
        ({"text": "heart", "filters": {"view": "oblique"}}, "filters.view"),
    ],
)
def test_invalid_text_query_names_the_field(client: Client, body: Any, field: str) -> None:
    problem = assert_problem(client.post("/v1/search/text", json=body), 400, "invalid_request")
    assert [error["field"] for error in problem["errors"]] == [field]


def test_unknown_field_is_named(client: Client) -> None:
    problem = assert_problem(client.post("/v1/search/text", json={"text": "heart", "limit": 3}), 400, "invalid_request")
    assert "limit" in problem["detail"]


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe", b"text=heart"])
def test_malformed_json_is_a_problem(client: Client, content: bytes) -> None:
    answer = client.post("/v1/search/text", content=content, headers={"content-type": "application/json"})
    assert_problem(answer, 400, "invalid_request")


def test_unknown_model_finding_and_study_have_their_own_codes(client: Client) -> None:
    assert_problem(client.post("/v1/search/text", json={"text": "heart", "model": "no"}), 404, "unknown_model")
    query = {"text": "heart", "filters": {"all": ["Cardiomegali"]}}
    assert_problem(client.post("/v1/search/text", json=query), 400, "unknown_finding")
    assert_problem(client.get("/v1/studies/nobody"), 404, "unknown_study")
    assert_problem(client.get("/v1/studies/nobody/similar"), 404, "unknown_study")


@pytest.mark.parametrize("query", ["k=0", "k=x", "view=oblique", "rerank=fancy", "wihtout=Cardiomegaly"])
def test_invalid_similar_query_names_the_field(client: Client, query: str) -> None:
    problem = assert_problem(client.get(f"/v1/studies/1/similar?{query}"), 400, "invalid_request")
    assert problem["errors"][0]["field"] == query.partition("=")[0]


def test_an_unknown_parameter_is_refused_with_the_known_ones(client: Client) -> None:
    problem = assert_problem(client.get("/v1/studies/1/similar?wihtout=Edema"), 400, "invalid_request")
    assert "expected dataset, k, model, rerank, view, with, without" in problem["detail"]
    problem = assert_problem(client.get("/v1/studies/1?view=frontal"), 400, "invalid_request")
    assert problem["detail"] == "view: unknown parameter; expected dataset, model"


def test_an_upload_that_is_not_an_image_is_refused(client: Client, png: bytes) -> None:
    for content, code in ((b"plain text", "wrong_type"), (b"", "empty_file"), (png[:40], "truncated_image")):
        answer = client.post("/v1/search/image", files={"image": ("a.png", content)})
        assert_problem(answer, 422, code)


@pytest.mark.parametrize(
    "form", [{"k": "0"}, {"k": "many"}, {"filters": "{"}, {"filters": '{"some": 1}'}, {"rerank": "x"}, {"limit": "3"}]
)
def test_invalid_image_form_is_refused(client: Client, png: bytes, form: dict[str, str]) -> None:
    answer = client.post("/v1/search/image", files={"image": ("a.png", png)}, data=form)
    assert_problem(answer, 400, "invalid_request")


def test_image_search_without_a_file_is_refused(client: Client) -> None:
    answer = client.post("/v1/search/image", files={"other": ("a.png", b"x")})
    assert_problem(answer, 400, "invalid_request")
    answer = client.post("/v1/search/image", content=b"x", headers={"content-type": "multipart/form-data; boundary=b"})
    assert_problem(answer, 400, "invalid_request")


def test_a_thumbnail_address_must_be_a_known_hash(client: Client) -> None:
    assert_problem(client.get(f"/v1/images/{'0' * 64}/thumbnail"), 404, "not_found")
    for address in ("abc", "G" * 64, "..%2f" * 13):
        assert client.get(f"/v1/images/{address}/thumbnail").status_code in (400, 404)


def test_unknown_route_and_method_are_problems(client: Client) -> None:
    assert_problem(client.get("/v1/nothing"), 404, "not_found")
    assert_problem(client.delete("/v1/models"), 405, "method_not_allowed")
