"""Who may ask for what: every route with every kind of key, the page's login, and other sites' pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar import Controller, Litestar, get
from litestar.exceptions import ImproperlyConfiguredException
from litestar.routes import HTTPRoute

from retrieval.catalog import Catalog
from retrieval.settings import RetrievalSettings
from service.access.keys import KeyFile
from service.access.login_sessions import COOKIE
from service.access.scopes import ADMIN, READ
from service.app import create_app
from service.settings import ServiceSettings
from tests.service.conftest import Client, assert_problem, bearer, connect

# What anybody may ask for. A route that is to be added here opens the service a little further: think twice.
OPEN_ROUTES = {
    ("GET", "/health/live"),
    ("GET", "/health/ready"),
    ("GET", "/static/{file_path:path}"),
    ("HEAD", "/static/{file_path:path}"),
    ("GET", "/login"),
    ("POST", "/login"),
    ("POST", "/logout"),
}
ADMIN_ROUTES = {("PUT", "/v1/models/active")}
ALLOWED = {
    "read": {"nothing", "any", "read"},
    "ingest": {"nothing", "any", "ingest"},
    "admin": {"nothing", "any", "read", "ingest", "admin"},
}
HOME = {"host": "127.0.0.1:8000"}


def routes_of(app: Litestar) -> list[tuple[str, str, str]]:
    """(method, path, what it needs) of every route, Litestar's own answers to OPTIONS included."""
    return sorted(
        (method, route.path, handler.opt["needs"])
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        for method in handler.http_methods
    )


def address_of(path: str) -> str:
    """An address of the route: each parameter has some value of its kind."""
    return re.sub(
        r"\{(\w+):\w+\}", lambda match: {"file_path": "page.css", "sha256": "0" * 64}.get(match[1], "1"), path
    )


@pytest.fixture
def all_routes(keyed_catalog: Catalog) -> Iterator[tuple[Client, list[tuple[str, str, str]]]]:
    """A client of a service that has every route that any setting switches on, and those routes."""
    with connect(keyed_catalog, ServiceSettings(rate_per_minute=0, metrics=True)) as client:
        assert all(isinstance(route, HTTPRoute) for route in client.app.routes)
        yield client, routes_of(client.app)


def ask(client: Client, method: str, path: str, headers: dict[str, str]) -> Any:
    return client.request(method, address_of(path), headers=headers, follow_redirects=False)


def refused(answer: Any) -> bool:
    """Whether the guard refused; the login form answers 401, too, to who fills it in wrongly."""
    return answer.status_code in (401, 403) and "text/html" not in answer.headers["content-type"]


def test_only_these_routes_are_open_and_only_those_are_for_admins(all_routes: Any) -> None:
    _, routes = all_routes
    methods = [route for route in routes if route[0] != "OPTIONS"]
    assert {("POST", path, "read") for path in ("/v1/search", "/v1/search/batch", "/v1/facets")} <= set(methods)
    assert len(methods) > 18
    assert {(method, path) for method, path, needs in methods if needs == "nothing"} == OPEN_ROUTES
    assert {(method, path) for method, path, needs in methods if needs == "admin"} == ADMIN_ROUTES


def test_every_route_without_a_key_answers_only_if_it_is_open(all_routes: Any) -> None:
    client, routes = all_routes
    for method, path, needs in routes:
        answer = ask(client, method, path, {})
        if needs == "nothing":
            assert not refused(answer), (method, path)
        else:
            assert_problem(answer, 401, "key_required")
            assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("kind", ["wrong", "expired", "revoked"])
@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
def test_every_route_with_a_bad_key_answers_only_if_it_is_open(
    all_routes: Any, keys: dict[str, str], kind: str, header: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.access.rate_limit.TokenBuckets.take", lambda *_: 0.0)
    client, routes = all_routes
    secret = keys.get(kind, "cxr_" + "x" * 43)
    for method, path, needs in routes:
        answer = ask(client, method, path, {header: f"Bearer {secret}" if header == "authorization" else secret})
        if needs == "nothing":
            assert not refused(answer), (method, path)
        else:
            problem = assert_problem(answer, 401, "invalid_key")
            assert problem["detail"] == f"this key is {'unknown' if kind == 'wrong' else kind}"


@pytest.mark.parametrize("scope", ["read", "ingest", "admin"])
@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
def test_every_route_with_a_good_key_answers_if_the_key_has_its_scope(
    all_routes: Any, keys: dict[str, str], scope: str, header: str
) -> None:
    client, routes = all_routes
    value = f"Bearer {keys[scope]}" if header == "authorization" else keys[scope]
    for method, path, needs in routes:
        answer = ask(client, method, path, {header: value})
        if needs in ALLOWED[scope]:
            assert not refused(answer), (method, path)
            assert answer.status_code < 500, (method, path, answer.text)
        else:
            problem = assert_problem(answer, 403, "scope_missing")
            assert needs in problem["detail"]


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": "Basic cmVhZDpyZWFk"},
        {"authorization": "Bearer é"},
        {"x-api-key": ""},
        {"cookie": f"{COOKIE}="},
        {"cookie": f"{COOKIE}=x; {COOKIE}=y"},
        {"cookie": "=;;=\x01"},
    ],
)
def test_malformed_credentials_open_nothing(keyed: Client, headers: dict[str, str]) -> None:
    encoded = {name: value.encode("latin-1") for name, value in headers.items()}
    assert keyed.get("/v1/models", headers=encoded).status_code == 401  # type: ignore[arg-type]


def test_the_hash_of_a_key_is_no_key(keyed: Client, keyed_home: Path) -> None:
    for key in KeyFile(keyed_home).read() or ():
        assert_problem(keyed.get("/v1/models", headers=bearer(key.sha256)), 401, "invalid_key")


def test_without_any_key_loopback_needs_none(client: Client) -> None:
    assert client.get("/v1/models").status_code == 200
    assert client.get("/v1/models", headers=bearer("anything")).status_code == 200
    assert client.get("/login", follow_redirects=False).headers["location"] == "/"


def test_without_any_key_other_addresses_answer_nothing(shared_catalog: Catalog) -> None:
    with connect(shared_catalog, ServiceSettings(host="0.0.0.0")) as client:
        assert_problem(client.get("/v1/models"), 401, "key_required")
        assert client.get("/health/live").status_code == 200


def test_a_running_service_notices_new_and_revoked_keys(catalog: Catalog, own_client: Client) -> None:
    assert own_client.get("/v1/models").status_code == 200
    file = KeyFile(catalog.settings.home)
    _, secret = file.create("first", ("read",))
    assert_problem(own_client.get("/v1/models"), 401, "key_required")
    assert own_client.get("/v1/models", headers=bearer(secret)).status_code == 200
    file.revoke("first")
    assert_problem(own_client.get("/v1/models", headers=bearer(secret)), 401, "invalid_key")
    file.path.unlink()
    assert_problem(own_client.get("/v1/models"), 401, "key_required")


def test_damaged_keys_close_all_but_what_is_open(catalog: Catalog, own_client: Client) -> None:
    (catalog.settings.home / "keys.json").write_text("{")
    assert_problem(own_client.get("/v1/models"), 503, "keys_damaged")
    assert own_client.get("/health/live").status_code == 200


def test_readiness_tells_names_and_reasons_only_to_who_may_read(
    keyed: Client, keys: dict[str, str], tmp_path: Path
) -> None:
    assert keyed.get("/health/ready").json() == {"status": "ready"}
    assert keyed.get("/health/ready", headers=bearer(keys["ingest"])).json() == {"status": "ready"}
    assert keyed.get("/health/ready", headers=bearer(keys["read"])).json()["model"] == "tiny-a"
    empty = Catalog(RetrievalSettings(home=tmp_path / "empty", device="cpu"))
    _, secret = KeyFile(tmp_path / "empty").create("x", ("read",))
    with empty, connect(empty) as client:
        assert assert_problem(client.get("/health/ready"), 503, "not_ready")["reasons"] == ["no_collection"]
        told = assert_problem(client.get("/health/ready", headers=bearer(secret)), 503, "not_ready")
        assert told["reasons"][0].startswith("no_collection: no model is active")


def test_a_route_without_a_scope_does_not_start(shared_catalog: Catalog) -> None:
    class Forgotten(Controller):
        path = "/forgotten"

        @get(sync_to_thread=False)
        def show(self) -> str:
            return "all patients"

    class Misspelt(Forgotten):
        path = "/misspelt"
        opt = {"needs": "reed"}

    app = create_app(ServiceSettings(), shared_catalog)
    for controller in (Forgotten, Misspelt):
        with pytest.raises(ImproperlyConfiguredException, match=controller.path):
            app.register(controller)


def test_constants_for_controllers_name_their_scope() -> None:
    assert (READ["needs"], ADMIN["needs"]) == ("read", "admin")


# The page.


def log_in(client: Client, secret: str, address: str = "/login") -> Any:
    return client.post(address, data={"key": secret}, follow_redirects=False)


def same_site(client: Client) -> dict[str, str]:
    return {"origin": str(client.base_url).rstrip("/")}


def test_browsers_are_led_to_the_login_and_back_to_what_they_asked_for(keyed: Client, keys: dict[str, str]) -> None:
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
        assert connect(keyed_of(keyed)).get(address, headers=html, follow_redirects=False).status_code == 303


def keyed_of(client: Client) -> Catalog:
    return client.app.dependencies["catalog"].dependency()  # type: ignore[no-any-return, index, union-attr]


def test_the_cookie_is_for_this_site_and_no_script_and_is_not_the_key(
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


def test_logging_out_ends_the_session_on_both_sides(keyed: Client, keys: dict[str, str]) -> None:
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


def test_a_cookie_brought_along_is_not_made_a_session(keyed: Client, keys: dict[str, str]) -> None:
    keyed.cookies.set(COOKIE, "chosen-by-an-attacker", domain="127.0.0.1")
    cookie = log_in(keyed, keys["read"]).headers["set-cookie"]
    assert "chosen-by-an-attacker" not in cookie
    keyed.cookies.clear()
    assert keyed.get("/v1/models", headers={"cookie": f"{COOKIE}=chosen-by-an-attacker"}).status_code == 401


ELSEWHERE = [
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "http://127.0.0.1:3000"},
    {"origin": "http://127.0.0.1:8000.evil.example"},
    {"origin": "http://[bad"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "same-site", "origin": "http://127.0.0.1:8000"},
]


@pytest.mark.parametrize("headers", ELSEWHERE)
def test_pages_of_other_sites_cannot_make_a_browser_change_anything(
    keyed: Client, client: Client, keys: dict[str, str], headers: dict[str, str], png: bytes
) -> None:
    assert_problem(keyed.post("/login", data={"key": keys["read"]}, headers=headers), 403, "cross_site")
    log_in(keyed, keys["admin"])
    assert_problem(keyed.put("/v1/models/active", json={"model": "tiny-b"}, headers=headers), 403, "cross_site")
    assert_problem(keyed.post("/search/image", files={"image": png}, headers=headers), 403, "cross_site")
    assert_problem(keyed.post("/logout", headers=headers), 403, "cross_site")
    assert keyed.get("/health/ready").json()["model"] == "tiny-a"  # still logged in, and nothing switched
    # Also where there is no login.
    assert_problem(client.post("/v1/search/image", files={"image": png}, headers=headers), 403, "cross_site")


@pytest.mark.parametrize(
    "headers", [{"origin": "http://127.0.0.1:8000"}, {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}]
)
def test_the_own_page_may(keyed: Client, keys: dict[str, str], headers: dict[str, str], png: bytes) -> None:
    log_in(keyed, keys["read"])
    answer = keyed.post("/search/image", files={"image": ("a.png", png)}, headers=headers)
    assert answer.status_code == 200


def test_a_cookie_alone_changes_nothing_when_the_browser_does_not_say_which_page_asks(
    keyed: Client, keys: dict[str, str], png: bytes
) -> None:
    log_in(keyed, keys["read"])
    assert_problem(keyed.post("/search/image", files={"image": ("a.png", png)}), 403, "cross_site")
    answer = keyed.post("/v1/search/text", json={"text": "heart"}, headers=bearer(keys["read"]))
    assert answer.status_code == 200


def test_what_shows_patients_is_not_kept_by_browsers(client: Client) -> None:
    for address in ("/?text=heart", "/v1/studies/1", "/v1/studies/1/similar"):
        assert client.get(address).headers["cache-control"] == "no-store"
