"""Feedback by `/v1/feedback` and by the links of the page."""

from __future__ import annotations

import html
import json
import re
import sqlite3
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from retrieval.catalog import Catalog
from service.experiments.design import design_experiment
from service.experiments.store import FILE_NAME, ExperimentStore
from service.settings import ServiceSettings
from tests.service.conftest import Client, assert_problem, bearer, connect


def rows(catalog: Catalog) -> list[tuple[Any, ...]]:
    database = sqlite3.connect(catalog.settings.home / FILE_NAME)
    found = database.execute("SELECT search_id, dataset, image_id, kind, session FROM feedback ORDER BY at").fetchall()
    database.close()
    return found


def lines(catalog: Catalog) -> list[dict[str, Any]]:
    files = sorted((catalog.settings.home / "audit").glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


@pytest.fixture
def said(own_client: Client) -> dict[str, Any]:
    """Feedback on the second hit of a search."""
    found = own_client.post("/v1/search/text", json={"text": "heart", "k": 3}).json()
    hit = found["hits"][1]
    return {
        "search_id": found["search_id"],
        "study_id": hit["study_id"],
        "image_id": hit["image_id"],
        "kind": "relevant",
    }


def test_feedback_is_stored_once_per_session_and_kind(
    own_client: Client, said: dict[str, Any], catalog: Catalog
) -> None:
    first = own_client.post("/v1/feedback", json=said)
    assert first.json() == said | {"dataset": "indiana"}
    assert own_client.post("/v1/feedback", json=said).json() == first.json()
    assert own_client.post("/v1/feedback", json=said | {"dataset": "indiana"}).json() == first.json()
    assert len(rows(catalog)) == 1
    for _ in range(2):
        own_client.post("/v1/feedback", json=said, headers={"x-cxr-session": "another"})
        own_client.post("/v1/feedback", json=said | {"kind": "click"})
    assert [row[3] for row in rows(catalog)].count("relevant") == 2
    assert len(rows(catalog)) == 3


REFUSED: list[tuple[dict[str, str], int, str]] = [
    ({"search_id": "0" * 32}, 404, "unknown_search"),
    ({"image_id": "other.png"}, 404, "not_shown"),
    ({"study_id": "other"}, 404, "not_shown"),
    ({"dataset": "other"}, 404, "not_shown"),
    ({"kind": "good"}, 400, "invalid_request"),
    ({"search_id": ""}, 400, "invalid_request"),
    ({"search_id": "x" * 65}, 400, "invalid_request"),
    ({"note": "free text"}, 400, "invalid_request"),
]


def test_feedback_on_images_not_shown_is_refused_and_not_recorded(
    own_client: Client, said: dict[str, Any], catalog: Catalog
) -> None:
    for change, status, code in REFUSED:
        assert_problem(own_client.post("/v1/feedback", json=said | change), status, code)
    assert rows(catalog) == []
    assert "feedback" not in {line["action"] for line in lines(catalog)}


def test_the_audit_log_names_key_kind_and_study(own_client: Client, said: dict[str, Any], catalog: Catalog) -> None:
    own_client.post("/v1/feedback", json=said)
    (line,) = [line for line in lines(catalog) if line["action"] == "feedback"]
    assert {name: line[name] for name in ("search_id", "kind", "studies", "key")} == {
        "search_id": said["search_id"],
        "kind": "relevant",
        "studies": [said["study_id"]],
        "key": None,
    }


def test_feedback_that_cannot_be_recorded_is_not_stored(
    own_client: Client, said: dict[str, Any], catalog: Catalog
) -> None:
    folder = catalog.settings.home / "audit"
    folder.rename(folder.with_name("moved"))
    folder.write_text("a file is in the way")
    assert_problem(own_client.post("/v1/feedback", json=said), 503, "audit_unavailable")
    assert rows(catalog) == []


def test_feedback_needs_the_scope_read(keyed: Client, keys: dict[str, str]) -> None:
    assert_problem(keyed.post("/v1/feedback", json={}), 401, "key_required")
    assert_problem(keyed.post("/v1/feedback", json={}, headers=bearer(keys["ingest"])), 403, "scope_missing")
    found = keyed.post("/v1/search/text", json={"text": "heart"}, headers=bearer(keys["read"])).json()
    said = {name: found["hits"][0][name] for name in ("study_id", "image_id")}
    said |= {"search_id": found["search_id"], "kind": "click"}
    assert keyed.post("/v1/feedback", json=said, headers=bearer(keys["read"])).status_code == 200


def test_feedback_counts_towards_the_rate_limit(shared_catalog: Catalog) -> None:
    with connect(shared_catalog, ServiceSettings(rate_per_minute=3)) as client:
        codes = [client.post("/v1/feedback", json={}).status_code for _ in range(4)]
    assert codes == [400, 400, 400, 429]


def links(page: str, label: str) -> list[str]:
    return [html.unescape(link) for link in re.findall(rf'<a[^>]* ?href="([^"]*)">{label}<', page)]


KINDS = {"More like this": "click", "Relevant": "relevant", "Not relevant": "not_relevant"}


def test_following_a_link_of_the_page_gives_feedback(own_client: Client, catalog: Catalog) -> None:
    for count, (label, kind) in enumerate(KINDS.items()):
        first, *others = links(own_client.get("/?text=heart&k=3").text, label)
        assert len(others) == 2
        assert len(rows(catalog)) == count
        followed = own_client.get(first)
        assert followed.status_code == 200
        fields = dict(parse_qsl(urlsplit(first).query))
        search_id, dataset, image_id, found, session = rows(catalog)[-1]
        assert (search_id, image_id) == (fields["said_of"], fields["said_image"])
        assert (dataset, found, len(session)) == ("indiana", kind, 32)
        own_client.get(first)
        assert len(rows(catalog)) == count + 1
        # Links of the next page do not repeat the feedback.
        again = parse_qsl(urlsplit(links(followed.text, label)[0]).query)
        (search_of_next,) = [value for name, value in again if name == "said_of"]
        assert search_of_next != search_id


def test_an_invented_link_shows_its_page_without_feedback(client: Client) -> None:
    for query in (
        "said=click",
        "said=click&said_of=x&said_study=1&said_image=y",
        "said=nonsense&said_of=x&said_study=1&said_image=y",
        "said=click&said_of=&said_study=1&said_image=y",
        "said=click&said_of=" + "x" * 200 + "&said_study=1&said_image=y",
    ):
        answer = client.get(f"/?text=heart&k=2&{query}")
        assert answer.status_code == 200
        assert answer.text.count('<li class="card">') == 2


def test_the_page_of_an_interleaved_search_does_not_reveal_the_models(own_client: Client, catalog: Catalog) -> None:
    store = ExperimentStore(catalog.settings.home)
    store.start(design_experiment(catalog, name="e", kind="interleave", model_a="tiny-a", model_b="tiny-b", share=50))
    page = own_client.get("/?text=heart&k=4").text
    cards = page[page.index('<ol class="hits">') :]
    assert cards.count('<li class="card">') == 4
    assert "tiny-" not in cards
    own_client.get(links(page, "More like this")[0])
    assert [len(outcome.positive) for outcome in store.outcomes("e")] == [1, 0]
    store.close()
