"""Access control: every route with every kind of key."""

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

# Routes without a key. Think twice before you add one.
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
    """(method, path, required scope) of every route, with Litestar's OPTIONS routes."""
    return sorted(
        (method, route.path, handler.opt["needs"])
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        for method in handler.http_methods
    )


def address_of(path: str) -> str:
    """An address that matches the route."""
    return re.sub(
        r"\{(\w+):\w+\}", lambda match: {"file_path": "page.css", "sha256": "0" * 64}.get(match[1], "1"), path
    )


@pytest.fixture
def all_routes(keyed_catalog: Catalog) -> Iterator[tuple[Client, list[tuple[str, str, str]]]]:
    """A client of a service with all optional routes, and its routes."""
    with connect(keyed_catalog, ServiceSettings(rate_per_minute=0, metrics=True)) as client:
        assert all(isinstance(route, HTTPRoute) for route in client.app.routes)
        yield client, routes_of(client.app)


def ask(client: Client, method: str, path: str, headers: dict[str, str]) -> Any:
    return client.request(method, address_of(path), headers=headers, follow_redirects=False)


def refused(answer: Any) -> bool:
    """Whether the guard refused the request; a wrong key in the login form gets 401 with HTML."""
    return answer.status_code in (401, 403) and "text/html" not in answer.headers["content-type"]


def test_lists_of_open_and_of_admin_routes_are_complete(all_routes: Any) -> None:
    _, routes = all_routes
    methods = [route for route in routes if route[0] != "OPTIONS"]
    assert {("POST", path, "read") for path in ("/v1/search", "/v1/search/batch", "/v1/facets")} <= set(methods)
    assert len(methods) > 18
    assert {(method, path) for method, path, needs in methods if needs == "nothing"} == OPEN_ROUTES
    assert {(method, path) for method, path, needs in methods if needs == "admin"} == ADMIN_ROUTES


def test_without_a_key_only_open_routes_answer(all_routes: Any) -> None:
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
def test_with_an_invalid_key_only_open_routes_answer(
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
def test_with_a_valid_key_routes_of_its_scopes_answer(
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
def test_malformed_credentials_are_refused(keyed: Client, headers: dict[str, str]) -> None:
    encoded = {name: value.encode("latin-1") for name, value in headers.items()}
    assert keyed.get("/v1/models", headers=encoded).status_code == 401  # type: ignore[arg-type]


def test_the_hash_of_a_key_is_not_a_valid_key(keyed: Client, keyed_home: Path) -> None:
    for key in KeyFile(keyed_home).read() or ():
        assert_problem(keyed.get("/v1/models", headers=bearer(key.sha256)), 401, "invalid_key")


def test_while_no_key_exists_loopback_needs_none(client: Client) -> None:
    assert client.get("/v1/models").status_code == 200
    assert client.get("/v1/models", headers=bearer("anything")).status_code == 200
    assert client.get("/login", follow_redirects=False).headers["location"] == "/"


def test_while_no_key_exists_other_addresses_refuse_every_request(shared_catalog: Catalog) -> None:
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


def test_damaged_keys_close_all_routes_but_the_open_ones(catalog: Catalog, own_client: Client) -> None:
    (catalog.settings.home / "keys.json").write_text("{")
    assert_problem(own_client.get("/v1/models"), 503, "keys_damaged")
    assert own_client.get("/health/live").status_code == 200


def test_readiness_gives_names_and_reasons_only_with_the_scope_read(
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


def test_the_service_does_not_start_if_a_route_declares_no_scope(shared_catalog: Catalog) -> None:
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
