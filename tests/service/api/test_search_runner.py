"""A search over HTTP is validated once, and its image is decoded once, whichever models answer."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from retrieval.catalog import Catalog
from retrieval.imaging.decoder_pool import DecoderPool
from retrieval.search.query import Query
from service.experiments.design import design_experiment
from service.experiments.store import ExperimentStore
from tests.service.conftest import Client
from tests.service.live import until


@pytest.fixture
def validated(monkeypatch: pytest.MonkeyPatch) -> list[Query]:
    """The queries that were validated, in order."""
    queries: list[Query] = []
    require_valid = Query.require_valid

    def record(query: Query) -> None:
        queries.append(query)
        require_valid(query)

    monkeypatch.setattr(Query, "require_valid", record)
    return queries


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The images that were decoded, in order."""
    images: list[bytes] = []
    prepare = DecoderPool.prepare

    def record(pool: DecoderPool, data: bytes, *args: Any, **options: Any) -> Any:
        images.append(data)
        return prepare(pool, data, *args, **options)

    monkeypatch.setattr(DecoderPool, "prepare", record)
    return images


def test_each_query_is_validated_once(client: Client, png: bytes, validated: list[Query]) -> None:
    image = base64.b64encode(png).decode()
    answers = [
        client.post("/v1/search", json={"text": "heart", "image": image}),
        client.post("/v1/search/text", json={"text": "heart"}),
        client.post("/v1/search/image", files={"image": ("a.png", png)}),
        client.get("/v1/studies/1/similar"),
        client.get("/?text=heart"),
        client.post("/search/image", files={"image": ("a.png", png)}),
    ]
    assert [answer.status_code for answer in answers] == [200] * 6
    assert len(validated) == 6
    client.post("/v1/search/batch", json={"queries": [{"text": "heart"}, {"image": image}]})
    assert len(validated) == 8


@pytest.mark.parametrize("kind", ["split", "interleave", "shadow"])
def test_an_image_is_decoded_once_for_both_models_of_an_experiment(
    catalog: Catalog, own_client: Client, png: bytes, decoded: list[bytes], validated: list[Query], kind: str
) -> None:
    store = ExperimentStore(catalog.settings.home)
    store.start(design_experiment(catalog, name="e", kind=kind, model_a="tiny-a", model_b="tiny-b", share=50.0))  # type: ignore[arg-type]
    answer = own_client.post("/v1/search/image", files={"image": ("a.png", png)})
    assert answer.json()["experiment"] == "e"
    if kind == "shadow":
        until(lambda: bool(store.shadows("e")))
        assert store.shadows("e")[0].error is None
    store.close()
    assert decoded == [png]
    assert len(validated) == 1


def test_an_invalid_query_is_refused_before_its_image_is_decoded(
    client: Client, png: bytes, decoded: list[bytes]
) -> None:
    body = {"image": base64.b64encode(png).decode(), "filters": {"date_from": "2024-02-30"}}
    assert client.post("/v1/search", json=body).status_code == 400
    assert decoded == []
