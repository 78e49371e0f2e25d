"""Rendered pages, compared with snapshots. After a wanted change: `pytest tests/service/web --snapshot-update`."""

from __future__ import annotations

import re

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


PAGES = {
    "start": "/",
    "text_search": "/?text=enlarged+heart,+no+pleural+effusion&with=Cardiomegaly&k=2",
    "unread_denial": "/?text=nodule,+no+pnumothorax&k=1",
    "collapsed": "/?text=heart&collapse=study&k=2",
    "study": "/?study=2&k=2",
    "rated": "/?text=heart&like=2&unlike=3&k=2",
    "no_hits": "/?text=heart&with=Nodule&with=Opacity",
    "no_words": "/?text=xyzzy&match=bm25",
    "error": "/?text=heart&k=0&view=oblique",
    "unknown_model": "/?text=heart&model=no",
}


@pytest.mark.parametrize("name", PAGES)
def test_page(client: Client, html: SnapshotAssertion, name: str) -> None:
    assert stable(client.get(PAGES[name]).text) == html


def test_page_of_an_image_search(client: Client, html: SnapshotAssertion, png: bytes) -> None:
    answer = client.post("/search/image", files={"image": ("a.png", png)}, data={"text": "heart", "k": "2"})
    assert stable(answer.text) == html


def test_page_of_an_unreadable_image(client: Client, html: SnapshotAssertion) -> None:
    answer = client.post("/search/image", files={"image": ("a.png", b"no image")})
    assert stable(answer.text) == html


def test_login_page(keyed: Client, html: SnapshotAssertion) -> None:
    assert stable(keyed.get("/login?text=heart").text) == html


def test_login_page_after_a_wrong_key(keyed: Client, html: SnapshotAssertion) -> None:
    assert stable(keyed.post("/login", data={"key": "cxr_wrong"}).text) == html
