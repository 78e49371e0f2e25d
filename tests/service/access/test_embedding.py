"""Thumbnails in pages of the Qdrant dashboard: its origin is named in the settings, and no other page may show them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import ValidationError

from retrieval.catalog import Catalog
from retrieval.settings import RetrievalSettings
from service.settings import ServiceSettings
from tests.service.conftest import Client, assert_problem, bearer, connect

DASHBOARD = "https://qdrant.example.org:6333"


@pytest.fixture(scope="module")
def embedded(shared_catalog: Catalog) -> Iterator[Client]:
    with connect(shared_catalog, ServiceSettings(dashboard_origins=(DASHBOARD,), rate_per_minute=0)) as client:
        yield client


@pytest.fixture(scope="module")
def link(embedded: Client) -> str:
    sha256 = embedded.get("/v1/studies/1").json()["images"][0]["image_sha256"]
    return f"/v1/images/{sha256}/thumbnail.webp"


@pytest.mark.parametrize("site", ["same-site", "cross-site", None])
@pytest.mark.parametrize("page", ["/", "/dashboard#/collections/cxr_tiny-a"])
def test_a_page_of_the_dashboard_may_show_a_linked_thumbnail(embedded: Client, link: str, site: str, page: str) -> None:
    headers = {"referer": DASHBOARD + page} | ({"sec-fetch-site": site} if site else {})
    answer = embedded.get(link, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp")
    assert answer.headers.get_list("cross-origin-resource-policy") == ["cross-origin"]
    assert answer.headers["cache-control"] == "no-store"
    assert answer.content == embedded.get(link.removesuffix(".webp")).content


@pytest.mark.parametrize(
    "referer",
    [
        "",
        "https://qdrant.example.org/",
        "https://qdrant.example.org:6334/",
        "http://qdrant.example.org:6333/",
        "https://qdrant.example.org:6333.evil.example/",
        "https://evil.example/https://qdrant.example.org:6333/",
        "https://x@qdrant.example.org:6333/",
        "https://[",
    ],
)
@pytest.mark.parametrize("site", ["same-site", "cross-site"])
def test_pages_of_other_origins_are_refused(embedded: Client, link: str, referer: str, site: str) -> None:
    headers = {"sec-fetch-site": site} | ({"referer": referer} if referer else {})
    assert_problem(embedded.get(link, headers=headers), 403, "cross_site")


@pytest.mark.parametrize("headers", [{}, {"sec-fetch-site": "none"}, {"sec-fetch-site": "same-origin"}])
def test_other_clients_get_it_for_their_own_pages_only(embedded: Client, link: str, headers: dict[str, str]) -> None:
    answer = embedded.get(link, headers=headers)
    assert answer.status_code == 200
    assert answer.headers.get_list("cross-origin-resource-policy") == ["same-origin"]


def test_without_the_setting_no_page_of_another_origin_shows_it(client: Client, link: str) -> None:
    headers = {"sec-fetch-site": "same-site", "referer": DASHBOARD + "/"}
    assert_problem(client.get(link, headers=headers), 403, "cross_site")


def test_the_dashboard_does_not_replace_the_login(keyed_catalog: Catalog, keys: dict[str, str], link: str) -> None:
    dashboard = {"sec-fetch-site": "same-site", "referer": DASHBOARD + "/"}
    with connect(keyed_catalog, ServiceSettings(dashboard_origins=(DASHBOARD,), rate_per_minute=0)) as client:
        assert_problem(client.get(link, headers=dashboard), 401, "key_required")
        assert client.get(link, headers=dashboard | bearer(keys["read"])).status_code == 200


def test_origins_are_read_as_browsers_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "CXR_SERVICE_DASHBOARD_ORIGINS", "https://Qdrant.example:443/, http://[::1]:6333,http://a.example:80"
    )
    assert ServiceSettings().dashboard_origins == ("https://qdrant.example", "http://[::1]:6333", "http://a.example")


@pytest.mark.parametrize(
    "origin", ["*", "qdrant.example", "ftp://a", "https://a/dashboard", "https://a?x", "https://u@a"]
)
def test_a_dashboard_origin_that_is_none_is_refused(origin: str) -> None:
    with pytest.raises(ValidationError, match="expected an origin"):
        ServiceSettings(dashboard_origins=(origin,))


def test_the_public_url_is_an_address_without_query() -> None:
    assert RetrievalSettings(public_url="https://cxr.example/x/").public_url == "https://cxr.example/x"
    assert RetrievalSettings(public_url="").public_url is None
    for wrong in (
        "cxr.example",
        "ftp://cxr.example",
        "https://",
        "https://u:p@cxr.example",
        "https://a?b",
        "https://a:99999",
    ):
        with pytest.raises(ValidationError, match="public_url"):
            RetrievalSettings(public_url=wrong)
