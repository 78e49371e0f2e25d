"""The Qdrant dashboard in Chromium shows thumbnails to those who are logged in here, and no other page shows them.

A small page stands for the dashboard. Where there is a server (`tests.qdrant`), and `CXR_TEST_QDRANT_DASHBOARD` names the
folder of its built dashboard, that is opened, too.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from archives.indiana import IndianaSource
from ingest.thumbnails import thumbnail_link
from ingest.worker import Worker
from retrieval.catalog import Catalog
from retrieval.model.bundle import find_bundle
from retrieval.model.encoder import Encoder
from retrieval.settings import RetrievalSettings
from service.access.keys import KeyFile
from tests.browser import Browser, running_browser
from tests.qdrant.servers import running_node
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


FILMS = """[...document.querySelectorAll("img[src$='thumbnail.webp']")].filter(image => image.complete)"""


def test_the_real_dashboard_shows_films_beside_their_payload_to_those_who_are_logged_in(
    browser: Browser, tiny_home: Path, archive: dict[str, Path], tmp_path: Path
) -> None:
    folder = os.environ.get("CXR_TEST_QDRANT_DASHBOARD")
    if not folder:
        pytest.skip("CXR_TEST_QDRANT_DASHBOARD names no folder of a built dashboard")
    _, key = KeyFile(tiny_home).create("reader", ("read",))
    with (
        running_node(tmp_path / "node", QDRANT__SERVICE__STATIC_CONTENT_DIR=str(Path(folder).resolve())) as node,
        Catalog(RetrievalSettings(home=tiny_home, index=node.url, device="cpu")) as catalog,
        serving(catalog, dashboard_origins=(node.url,)) as live,
    ):
        service = f"http://127.0.0.1:{live.port}"
        encoder = Encoder(find_bundle("tiny-a", catalog.settings.models_dir), device="cpu", threads=1)
        worker = Worker(encoder, catalog.index, media_dir=catalog.settings.media_dir, public_url=service)
        assert worker.run(IndianaSource(**archive)).indexed == 24
        points = f"{node.url}/dashboard#/collections/cxr_tiny-a"

        def widths() -> list[int]:
            """Widths of the films that the dashboard shows beside payloads; 0 for one that may not be shown."""
            browser.open("about:blank")
            browser.open(points)
            browser.wait_until(f"{FILMS}.length > 1")
            assert browser.run("document.body.innerText").count("impression") > 1
            return browser.run(f"{FILMS}.map(image => image.naturalWidth)")

        assert set(widths()) == {0}
        log_in(browser, service, key)
        assert all(widths())
        log_out(browser, service)
        assert set(widths()) == {0}
