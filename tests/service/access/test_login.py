"""Login to the page, its session cookie, and requests from pages of other sites."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from retrieval.catalog import Catalog
from service.access.keys import KeyFile
from service.access.login_sessions import COOKIE
from service.settings import ServiceSettings
from tests.service.conftest import Client, assert_problem, bearer, connect


def log_in(client: Client, secret: str, address: str = "/login") -> Any:
    return client.post(address, data={"key": secret}, follow_redirects=False)


def same_site(client: Client) -> dict[str, str]:
    return {"origin": str(client.base_url).rstrip("/")}


def test_browsers_are_redirected_to_the_login_and_back_to_their_search(keyed: Client, keys: dict[str, str]) -> None:
    html = {"accept": "text/html,*/*"}
    led = keyed.get("/?text=left+effusion&k=3", headers=html, follow_redirects=False)
    assert (led.status_code, led.headers["location"]) == (303, "/login?text=left+effusion&k=3")
    form = keyed.get(led.headers["location"])
    assert form.status_code == 200
    assert 'action="/login?text=left+effusion&amp;k=3"' in form.text
    assert 'type="password"' in form.text
    assert "<script" not in form.text
    back = log_in(keyed, keys["read"], led.headers["location"])
    assert (back.status_code, back.headers["location"]) == (303, "/?text=left+effusion&k=3")
    shown = keyed.get(back.headers["location"])
    assert shown.status_code == 200
    assert shown.text.count('<li class="card">') == 3
    assert "Log out read" in shown.text
    for address in ("/schema", "/"):
        assert connect(catalog_of(keyed)).get(address, headers=html, follow_redirects=False).status_code == 303


def catalog_of(client: Client) -> Catalog:
    return client.app.dependencies["catalog"].dependency()  # type: ignore[no-any-return, index, union-attr]


def test_the_cookie_is_http_only_same_site_and_does_not_hold_the_key(
    keyed: Client, keyed_catalog: Catalog, keys: dict[str, str]
) -> None:
    cookie = log_in(keyed, keys["read"]).headers["set-cookie"]
    attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/", "max-age=43200"} <= attributes
    assert not any(part.startswith(("domain", "secure")) for part in attributes)
    assert keys["read"] not in cookie
    with connect(keyed_catalog, ServiceSettings(https=True)) as client:
        assert "secure" in log_in(client, keys["read"]).headers["set-cookie"].lower()


def test_thumbnails_and_the_api_accept_the_session_within_its_scope(keyed: Client, keys: dict[str, str]) -> None:
    log_in(keyed, keys["read"])
    source = re.findall(r"/v1/images/\w+/thumbnail", keyed.get("/?text=heart").text)[0]
    assert keyed.get(source).status_code == 200
    assert_problem(keyed.put("/v1/models/active", json={}, headers=same_site(keyed)), 403, "scope_missing")


def test_a_wrong_key_shows_the_form_again(keyed: Client, keys: dict[str, str]) -> None:
    for secret, title in (("cxr_wrong", "Invalid key"), ("", "Invalid key"), (keys["revoked"], "Invalid key")):
        answer = log_in(keyed, secret)
        assert answer.status_code == 401
        assert f"<h2>{title}</h2>" in answer.text
        assert "set-cookie" not in answer.headers
    refused = log_in(keyed, keys["ingest"])
    assert refused.status_code == 401
    assert "lacks the scope `read`" in refused.text
    assert "set-cookie" not in refused.headers


def test_logout_ends_the_session_in_service_and_browser(keyed: Client, keys: dict[str, str]) -> None:
    log_in(keyed, keys["read"])
    token = keyed.cookies[COOKIE]
    assert keyed.get("/v1/models").status_code == 200
    left = keyed.post("/logout", headers=same_site(keyed), follow_redirects=False)
    assert (left.status_code, left.headers["location"]) == (303, "/login")
    assert "max-age=0" in left.headers["set-cookie"].lower()
    assert left.headers["clear-site-data"] == '"cache"'
    keyed.cookies.clear()
    replayed = keyed.get("/v1/models", headers={"cookie": f"{COOKIE}={token}"})
    assert_problem(replayed, 401, "key_required")


def test_revoking_a_key_ends_its_sessions(keyed: Client, keyed_home: Path) -> None:
    file = KeyFile(keyed_home)
    _, secret = file.create("leaves", ("read",))
    log_in(keyed, secret)
    assert keyed.get("/v1/models").status_code == 200
    file.revoke("leaves")
    assert_problem(keyed.get("/v1/models"), 401, "key_required")


def test_login_never_adopts_a_cookie_of_the_client(keyed: Client, keys: dict[str, str]) -> None:
    keyed.cookies.set(COOKIE, "chosen-by-an-attacker", domain="127.0.0.1")
    cookie = log_in(keyed, keys["read"]).headers["set-cookie"]
    assert "chosen-by-an-attacker" not in cookie
    keyed.cookies.clear()
    assert keyed.get("/v1/models", headers={"cookie": f"{COOKIE}=chosen-by-an-attacker"}).status_code == 401


OTHER_SITES = [
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "http://127.0.0.1:3000"},
    {"origin": "http://127.0.0.1:8000.evil.example"},
    {"origin": "http://[bad"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "same-site", "origin": "http://127.0.0.1:8000"},
]


@pytest.mark.parametrize("headers", OTHER_SITES)
def test_requests_from_pages_of_other_sites_are_refused(
    keyed: Client, client: Client, keys: dict[str, str], headers: dict[str, str], png: bytes
) -> None:
    assert_problem(keyed.post("/login", data={"key": keys["read"]}, headers=headers), 403, "cross_site")
    log_in(keyed, keys["admin"])
    assert_problem(keyed.put("/v1/models/active", json={"model": "tiny-b"}, headers=headers), 403, "cross_site")
    assert_problem(keyed.post("/search/image", files={"image": png}, headers=headers), 403, "cross_site")
    assert_problem(keyed.post("/logout", headers=headers), 403, "cross_site")
    assert keyed.get("/health/ready").json()["model"] == "tiny-a"  # still logged in, still the same model
    # Without login, too.
    assert_problem(client.post("/v1/search/image", files={"image": png}, headers=headers), 403, "cross_site")


@pytest.mark.parametrize(
    "headers", [{"origin": "http://127.0.0.1:8000"}, {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}]
)
def test_requests_from_the_own_page_are_accepted(
    keyed: Client, keys: dict[str, str], headers: dict[str, str], png: bytes
) -> None:
    log_in(keyed, keys["read"])
    answer = keyed.post("/search/image", files={"image": ("a.png", png)}, headers=headers)
    assert answer.status_code == 200


def test_a_cookie_without_an_origin_is_not_enough_for_a_change(keyed: Client, keys: dict[str, str], png: bytes) -> None:
    log_in(keyed, keys["read"])
    assert_problem(keyed.post("/search/image", files={"image": ("a.png", png)}), 403, "cross_site")
    answer = keyed.post("/v1/search/text", json={"text": "heart"}, headers=bearer(keys["read"]))
    assert answer.status_code == 200


def test_browsers_do_not_store_answers_about_patients(client: Client) -> None:
    for address in ("/?text=heart", "/v1/studies/1", "/v1/studies/1/similar"):
        assert client.get(address).headers["cache-control"] == "no-store"
