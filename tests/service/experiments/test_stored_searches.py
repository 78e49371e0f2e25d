"""What an experiment stores of a search: whose it was, without names or queries, for some days."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from archives.dicom.pseudonyms import hash_uid, load_salt
from retrieval.catalog import Catalog
from service.access.keys import KeyFile
from service.experiments.entities import Experiment
from service.experiments.store import FILE_NAME, ExperimentStore
from service.experiments.visitor_session import COOKIE
from service.settings import ServiceSettings
from tests.service.conftest import bearer, connect
from tests.service.experiments.test_experiments import SEARCH, give_feedback, search


def test_the_store_contains_no_queries_and_no_names(
    catalog: Catalog, start_experiment: Callable[..., Experiment]
) -> None:
    start_experiment("interleave")
    _, secret = KeyFile(catalog.settings.home).create("dr-no", ("read",))
    with connect(catalog) as client:
        for headers in ({}, {"x-cxr-session": "miss-moneypenny"}):
            query = {"text": "goldfinger heart", "k": 3}
            found = client.post(SEARCH, json=query, headers=bearer(secret) | headers).json()
            hit = found["hits"][0]
            said = {"search_id": found["search_id"], "kind": "click"}
            said |= {name: hit[name] for name in ("study_id", "image_id")}
            assert client.post("/v1/feedback", json=said, headers=bearer(secret) | headers).status_code == 200
    home = catalog.settings.home
    content = b"".join(path.read_bytes() for path in home.glob(FILE_NAME + "*"))
    assert len(content) > 1000
    for word in (b"dr-no", b"moneypenny", b"goldfinger", b"enlarged", secret.encode()):
        assert word not in content


def test_a_session_is_the_header_else_login_else_key_else_cookie(catalog: Catalog, store: ExperimentStore) -> None:
    def session(found: dict[str, Any]) -> str:
        return store.exposure(found["search_id"]).session

    with connect(catalog) as client:
        assert session(search(client)) != session(search(client))
        assert session(search(client, session="x")) == session(search(client, session="x"))
        page = client.get("/?text=heart")
        assert "HttpOnly" in page.headers["set-cookie"] and "samesite=strict" in page.headers["set-cookie"].lower()
        assert client.cookies[COOKIE]
        by_cookie = session(search(client))
        assert by_cookie == session(search(client))
        assert session(search(client, session="x")) != by_cookie
        assert "set-cookie" not in client.get("/?text=heart").headers
    _, secret = KeyFile(catalog.settings.home).create("ward", ("read",))
    with connect(catalog, ServiceSettings(rate_per_minute=0, https=True)) as client:
        one = client.post(SEARCH, json={"text": "heart"}, headers=bearer(secret)).json()
        two = client.post(SEARCH, json={"text": "heart"}, headers=bearer(secret)).json()
        assert session(one) == session(two) == hash_uid(load_salt(catalog.settings.home), "session key ward")


def test_searches_are_deleted_after_the_configured_days(
    catalog: Catalog, store: ExperimentStore, tmp_path: Path
) -> None:
    with connect(catalog, ServiceSettings(rate_per_minute=0, exposure_days=3)) as client:
        old = search(client)["search_id"]
    database = sqlite3.connect(store.path)
    database.execute("UPDATE exposures SET at = at - 4 * 86400")
    database.commit()
    database.close()
    with connect(catalog, ServiceSettings(rate_per_minute=0, exposure_days=3)) as client:
        new = search(client)
        assert give_feedback(client, new).status_code == 200
        assert give_feedback(client, new | {"search_id": old}).json()["code"] == "unknown_search"
