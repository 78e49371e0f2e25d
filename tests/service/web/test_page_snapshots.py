"""Rendered pages, compared with snapshots: whole without a search, else what follows the form, and the fields that are set.

After a wanted change: `pytest tests/service/web --snapshot-update`.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

from tests.service.conftest import Client

# Differ from run to run, or in the last digits between machines.
VOLATILE = (
    (r"\d+ ms\b", "N ms"),
    (r"said_of=[0-9a-f]{32}", "said_of=ID"),
    (r"/v1/images/[0-9a-f]{64}/", "/v1/images/SHA256/"),
    (r"data:image/webp;base64,[^\"]+", "data:image/webp;base64,..."),
    (r"-?\d\.\d{3}\b", "N.NNN"),
    (r'(x|width)="[\d.]+" (?=y=|height="6")', r'\1="N" '),
    (r"more similar than [\d.]+ %", "more similar than N %"),
    (r"lowered by [^<]+", "lowered by ..."),
    (r'<rect class="\w+" x="N" y="0" width="N" height="6"/>', "<rect/>"),
)


class HtmlExtension(SingleFileSnapshotExtension):
    file_extension = "html"
    _write_mode = WriteMode.TEXT


@pytest.fixture
def html(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    return snapshot.use_extension(HtmlExtension)


def stable(text: str) -> str:
    for pattern, replacement in VOLATILE:
        text = re.sub(pattern, replacement, text)
    return text


class SetFields(HTMLParser):
    """Names and values of the fields of a form that are set."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: list[str] = []
        self._select = ""
        self._is_selected = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "select":
            self._select = values["name"] or ""
        elif tag == "option":
            self._is_selected = "selected" in values
        elif tag == "input" and values.get("value") and ("checked" in values or values["type"] != "checkbox"):
            self.fields.append(f"{values['name']}: {values['value']}")

    def handle_data(self, data: str) -> None:
        if self._is_selected:
            self.fields.append(f"{self._select}: {data}")
            self._is_selected = False


def result(page: str) -> str:
    """The title, the fields that are set, and the part between the form and the end of the page."""
    form, _, rest = page.partition("</form>")
    parser = SetFields()
    parser.feed(form.partition("<form")[2])
    (title,) = re.findall("<title>(.*)</title>", page)
    lines = [title, *parser.fields, rest.partition("</main>")[0].strip()]
    return stable("\n".join(lines)) + "\n"


WHOLE_PAGES = {
    "start": "/",
    "unknown_model": "/?text=heart&model=no",  # a form without findings
}
RESULTS = {
    "text_search": "/?text=enlarged+heart,+no+pleural+effusion&with=Cardiomegaly&k=2",
    "unread_denial": "/?text=nodule,+no+pnumothorax&k=1",
    "collapsed": "/?text=heart&collapse=study&k=2",
    "study": "/?study=2&k=2",
    "rated": "/?text=heart&like=2&unlike=3&k=2",
    "no_hits": "/?text=heart&with=Nodule&with=Opacity",
    "no_words": "/?text=xyzzy&match=bm25",
    "error": "/?text=heart&k=0&view=oblique",
}


@pytest.mark.parametrize("name", WHOLE_PAGES)
def test_whole_page(client: Client, html: SnapshotAssertion, name: str) -> None:
    assert stable(client.get(WHOLE_PAGES[name]).text) == html


@pytest.mark.parametrize("name", RESULTS)
def test_result(client: Client, html: SnapshotAssertion, name: str) -> None:
    assert result(client.get(RESULTS[name]).text) == html


def test_result_of_an_image_search(client: Client, html: SnapshotAssertion, png: bytes) -> None:
    answer = client.post("/search/image", files={"image": ("a.png", png)}, data={"text": "heart", "k": "2"})
    assert result(answer.text) == html


def test_result_of_an_unreadable_image(client: Client, html: SnapshotAssertion) -> None:
    answer = client.post("/search/image", files={"image": ("a.png", b"no image")})
    assert result(answer.text) == html


def test_login_page(keyed: Client, html: SnapshotAssertion) -> None:
    assert stable(keyed.get("/login?text=heart").text) == html


def test_login_page_after_a_wrong_key(keyed: Client, html: SnapshotAssertion) -> None:
    assert stable(keyed.post("/login", data={"key": "cxr_wrong"}).text) == html
