"""Hostile paths, headers, hosts and methods are refused and reveal nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from retrieval.catalog import Catalog
from service.access.keys import KeyFile
from service.settings import ServiceSettings
from tests.service.conftest import Client, bearer, connect
from tests.service.live import Live, serving
from tests.service.raw_http import (
    LIMIT,
    answer_to,
    head,
    status_of,
)


@pytest.fixture(scope="module")
def live(keyed_catalog: Catalog) -> Iterator[Live]:
    """A server that requires keys, with small limits."""
    with serving(keyed_catalog, upload_limit_bytes=LIMIT, body_timeout_s=1) as live:
        yield live


TRAVERSALS = (
    "../keys.json",
    "../../keys.json",
    "..%2fkeys.json",
    "..%2f..%2fkeys.json",
    "%2e%2e/keys.json",
    "%2e%2e%2f%2e%2e%2fkeys.json",
    "....//keys.json",
    "..%5ckeys.json",
    "..%c0%afkeys.json",
    "%00../keys.json",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "x" * 5_000,
    "%ff%fe",
    "file:%2f%2f/etc/passwd",
)


def files_of(home: Path) -> set[Path]:
    """All files of a home except temporary ones of the log, the engine and sqlite."""
    lasting = (path for path in home.rglob("*") if not path.name.endswith(("-wal", "-shm")))
    return {path for path in lasting if not {"audit", "index"} & set(path.relative_to(home).parts)}


@pytest.mark.parametrize(
    "template",
    [
        "/static/{}",
        "/v1/images/{}/thumbnail",
        "/v1/images/{}",
        "/v1/studies/{}",
        "/v1/studies/{}/similar",
        "/v1/models/{}",
        "/v1/studies/1?model={}",
        "/v1/studies/1?dataset={}",
        "/?model={}",
        "/?study={}",
        "/{}",
        "/schema/{}",
    ],
)
def test_no_path_reaches_other_files(live: Live, keys: dict[str, str], keyed_home: Path, template: str) -> None:
    before = files_of(keyed_home)
    (key, *_) = KeyFile(keyed_home).read() or ()
    for traversal in TRAVERSALS:
        target = template.format(traversal)
        request = head(live, f"GET {target}", f"X-API-Key: {keys['admin']}", "Connection: close")
        answer = answer_to(live, request)
        assert status_of(answer) in (400, 404, 405), target
        assert key.sha256.encode() not in answer, target
        assert b"root:" not in answer, target
    assert files_of(keyed_home) == before


MODEL_NAMES = ("../tiny-a", "..", ".", "/", "tiny-a/../tiny-b", "tiny-a\0", "a" * 200, "%2e%2e", "C:\\x")


def test_model_names_reach_no_other_files(own_client: Client) -> None:
    for name in MODEL_NAMES:
        for answer in (
            own_client.post("/v1/search/text", json={"text": "heart", "model": name}),
            own_client.put("/v1/models/active", json={"model": name, "force": True}),
        ):
            assert answer.status_code in (400, 404), (name, answer.text)
    assert own_client.get("/health/ready").json()["model"] == "tiny-a"


def test_line_breaks_in_addresses_do_not_become_headers(keyed: Client, keys: dict[str, str]) -> None:
    broken = "a%0d%0aSet-Cookie:%20cxr_session=evil%0d%0a%0d%0a<script>"
    html = bearer(keys["read"]) | {"accept": "text/html"}
    for address in (f"/v1/studies/{broken}", f"/v1/images/{broken}/thumbnail", f"/?text=heart&model={broken}"):
        answer = keyed.get(address, headers=html)
        assert answer.status_code in (400, 404)
        assert "set-cookie" not in answer.headers
        assert "<script>" not in answer.text or answer.headers["content-type"] == "application/problem+json"
    led = keyed.get(f"/?text={broken}", headers={"accept": "text/html"}, follow_redirects=False)
    assert led.status_code == 303
    assert "set-cookie" not in led.headers
    assert led.headers["location"].startswith("/login?text=a%0d%0a")


@pytest.mark.parametrize(
    "address", ["//evil.example/", "/login?//evil.example", "/login?next=//evil.example", "/%2f%2fevil.example"]
)
def test_the_login_redirects_only_to_this_service(keyed: Client, keys: dict[str, str], address: str) -> None:
    for answer in (
        keyed.get(address, headers={"accept": "text/html"}, follow_redirects=False),
        keyed.post(address, data={"key": keys["read"]}, follow_redirects=False),
    ):
        location = answer.headers.get("location", "/")
        assert location.startswith("/")
        assert not location.startswith(("//", "/\\"))


@pytest.mark.parametrize("given", ["a\r\n b", "x" * 65, "a b", "é", "<script>", "../../log", "a;b", "", "\x7f"])
def test_unsafe_request_ids_are_replaced(live: Live, keys: dict[str, str], given: str) -> None:
    request = head(live, "GET /v1/models", f"X-API-Key: {keys['read']}", f"X-Request-Id: {given}", "Connection: close")
    answer = answer_to(live, request)
    if status_of(answer) == 400:  # the HTTP parser refuses the bytes of the header
        return
    headers = answer.partition(b"\r\n\r\n")[0].lower()
    (line,) = [line for line in headers.split(b"\r\n") if line.startswith(b"x-request-id: ")]
    assert len(line.removeprefix(b"x-request-id: ")) == 32
    assert b"script" not in headers


def test_an_endless_header_is_refused(live: Live) -> None:
    answer = answer_to(live, head(live, "GET /health/live", "X-Long: " + "x" * 200_000))
    assert status_of(answer) in (400, 431)


@pytest.mark.parametrize(
    "hosts",
    [
        ["evil.example"],
        ["127.0.0.1@evil.example"],
        ["127.0.0.1.evil.example"],
        ["evil.example:8000"],
        ["evil.example#127.0.0.1"],
        ["127.0.0.1", "evil.example"],
        [" "],
        [],
    ],
)
def test_other_hosts_are_refused_whatever_proxy_headers_say(live: Live, keys: dict[str, str], hosts: list[str]) -> None:
    lines = [f"Host: {host}" for host in hosts]
    trusted = ["X-Forwarded-Host: 127.0.0.1", "Forwarded: host=127.0.0.1", f"X-API-Key: {keys['read']}"]
    request = "\r\n".join(["GET /v1/models HTTP/1.1", *lines, *trusted, "Connection: close", "", ""])
    assert status_of(answer_to(live, request.encode())) == 400


def test_a_host_in_the_request_line_does_not_replace_the_header(live: Live, keys: dict[str, str]) -> None:
    request = f"GET http://127.0.0.1/v1/models HTTP/1.1\r\nHost: evil.example\r\nX-API-Key: {keys['read']}\r\n"
    assert status_of(answer_to(live, f"{request}Connection: close\r\n\r\n".encode())) in (400, 404)


def test_unknown_methods_are_refused(live: Live, keys: dict[str, str]) -> None:
    for method in ("TRACE", "CONNECT", "DELETE", "PATCH", "FOO"):
        answer = answer_to(live, head(live, f"{method} /v1/models", f"X-API-Key: {keys['admin']}", "Connection: close"))
        assert status_of(answer) in (400, 405), method


def test_a_method_override_header_is_ignored(own_client: Client) -> None:
    headers = {"x-http-method-override": "PUT", "x-method-override": "PUT"}
    assert own_client.post("/v1/models/active", json={"model": "tiny-b"}, headers=headers).status_code == 405
    assert own_client.get("/health/ready").json()["model"] == "tiny-a"


def test_scripts_of_other_sites_can_read_nothing(client: Client) -> None:
    headers = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    for answer in (client.get("/v1/models", headers=headers), client.options("/v1/search/text", headers=headers)):
        assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize("address", ["/", "/login", "/schema", "/v1/models", "/v1/studies/1", "/static/page.css"])
def test_every_answer_forbids_content_sniffing_and_embedding(client: Client, address: str) -> None:
    answer = client.get(address, follow_redirects=False)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


def test_refusals_contain_no_file_names_and_no_secrets(
    keyed_catalog: Catalog, keys: dict[str, str], keyed_home: Path
) -> None:
    with connect(keyed_catalog, ServiceSettings(rate_per_minute=2)) as client:
        answers = [client.get("/v1/models") for _ in range(3)]
        answers += [client.get("/v1/models", headers=bearer(f"cxr_secret{number}")) for number in range(12)]
        answers += [client.get(path, headers=bearer(keys["read"])) for path in ("/v1/studies/nobody", "/?model=nobody")]
    for answer in answers:
        assert answer.status_code >= 400
        assert str(keyed_home) not in answer.text
        assert "cxr_secret" not in answer.text
