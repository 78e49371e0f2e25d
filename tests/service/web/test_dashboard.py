"""The Qdrant dashboard in Chromium shows thumbnails to those who are logged in here, and no other page shows them.

A small page stands for the dashboard where there is none. `CXR_TEST_QDRANT_DASHBOARD` names the folder of a built one; with
a server (`tests.qdrant`) it is used as well.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ingest.thumbnails import thumbnail_link
from retrieval.catalog import Catalog
from tests.browser import Browser, running_browser
from tests.service.live import serving

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with running_browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@contextmanager
def page_of(images: Callable[[], str], host: str = "127.0.0.1") -> Iterator[str]:
    """Origin of a page with the headers of the dashboard that shows the image at the address `images()`."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("X-Frame-Options", "DENY")
            self.end_headers()
            self.wfile.write(f'<!doctype html><link rel="icon" href="data:,"><img src="{images()}">'.encode())

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://{host}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def shows(browser: Browser, origin: str) -> bool:
    """Whether the page at `origin` shows its image."""
    browser.open(f"{origin}/dashboard#/collections")
    return bool(browser.run("document.querySelector('img').naturalWidth"))


def log_in(browser: Browser, service: str, key: str) -> None:
    browser.open(f"{service}/login")
    browser.type("input[name=key]", key + "\ue007")
    browser.wait_until("document.body.innerText.includes('Log out')")


def log_out(browser: Browser, service: str) -> None:
    browser.open(service)
    browser.click("form.logout button")
    browser.wait_until("location.pathname === '/login'")


def test_only_the_named_page_shows_films_and_only_while_its_reader_is_logged_in(
    browser: Browser, keyed_catalog: Catalog, keys: dict[str, str]
) -> None:
    image = next(iter(keyed_catalog.retriever().collection.scroll(limit=1)))
    service = ""

    def link() -> str:
        return thumbnail_link(service, image.payload["image_sha256"])

    with (
        page_of(link) as dashboard,
        page_of(link) as other,
        page_of(link, "localhost") as elsewhere,
        serving(keyed_catalog, dashboard_origins=(dashboard, elsewhere)) as live,
    ):
        service = f"http://127.0.0.1:{live.port}"
        assert not shows(browser, dashboard)
        log_in(browser, service, keys["read"])
        browser.open(f"{service}/?text=heart")
        assert browser.run("document.querySelector('img').naturalWidth")
        assert shows(browser, dashboard)
        assert not shows(browser, other)
        assert not shows(browser, elsewhere)  # named, but of another site: the cookie is not sent
        assert shows(browser, dashboard)
        log_out(browser, service)
        assert not shows(browser, dashboard)
