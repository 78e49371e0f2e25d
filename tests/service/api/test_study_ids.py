"""Study ids with slashes, percent signs and other characters: every id in an answer can be opened."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ingest.worker import Worker
from retrieval.catalog import Catalog
from retrieval.model.encoder import Encoder
from retrieval.records import LIMIT_ID, ImageRecord, Report, Study
from retrieval.settings import RetrievalSettings
from service.api.study_ids import _escape_study_id, unescape_study_id
from tests.conftest import write_tiny_bundle
from tests.service.conftest import Client, connect
from tests.service.live import Live, serving

PATHS = ["p1/s1/a.png", "a//b", "/abs/b.png", "ünï/çödé.png", "日本/胸部.png", "similar", "a/similarity", "a+b/c&d=e;f"]
"""Ids whose slashes need no escape in a path."""
OTHERS = [
    *("dir/", "50%", "50%25", "%2F", "a?b=c", "a#b", "a b", "a\\b", "'\"<b>", "{x}", "a\nb"),
    *("..", ".", "../x", "a/../b", "x/similar", "similar/similar", "/similar", "x" * LIMIT_ID, "😀" * LIMIT_ID),
]
IDS = [*PATHS, *OTHERS]


class OddArchive:
    dataset = "odd"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        rng = np.random.default_rng(0)
        for number in range(len(IDS)):
            image = Image.fromarray(rng.integers(0, 255, (6, 6), dtype=np.uint8)).resize((48, 40))
            image.save(folder / f"{number}.png")

    def image_count(self) -> int:
        return len(IDS)

    def __iter__(self) -> Iterator[Study]:
        for number, study_id in enumerate(IDS):
            image = ImageRecord(study_id, self._folder / f"{number}.png")
            yield Study(study_id, self.dataset, (image,), Report(findings="heart normal"))


@pytest.fixture(scope="module")
def odd_catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    home = tmp_path_factory.mktemp("odd")
    (home / "archive").mkdir()
    bundle = write_tiny_bundle(home / "models", "tiny-a", seed=0)
    with Catalog(RetrievalSettings(home=home, device="cpu")) as catalog:
        encoder = Encoder(bundle, device="cpu", threads=1)
        Worker(encoder, catalog.index, media_dir=home / "media").run(OddArchive(home / "archive"))
        catalog.activate("tiny-a")
        yield catalog


@pytest.fixture(scope="module")
def odd(odd_catalog: Catalog) -> Iterator[Live]:
    with serving(odd_catalog) as live:
        yield live


def get(live: Live, target: str) -> tuple[int, Any]:
    """Status and document of a GET whose path is sent exactly as written."""
    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=20)
    connection.request("GET", target)
    answer = connection.getresponse()
    document = json.loads(answer.read())
    connection.close()
    return answer.status, document


def assert_opens(live: Live, study_id: str, written: str) -> None:
    status, study = get(live, f"/v1/studies/{written}")
    assert (status, study.get("study_id")) == (200, study_id), study
    status, result = get(live, f"/v1/studies/{written}/similar?k=3&dataset=odd")
    assert status == 200, result
    assert len(result["hits"]) == 3
    assert study_id not in {hit["study_id"] for hit in result["hits"]}
    (image,) = study["images"]
    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=20)
    connection.request("GET", f"/v1/images/{image['image_sha256']}/thumbnail")
    assert connection.getresponse().status == 200
    connection.close()


@pytest.mark.parametrize("study_id", IDS, ids=[repr(each[:20]) for each in IDS])
def test_an_escaped_id_opens_its_study_and_similar_cases(odd: Live, study_id: str) -> None:
    assert_opens(odd, study_id, quote(study_id, safe=""))


@pytest.mark.parametrize("study_id", PATHS)
def test_slashes_need_no_escape(odd: Live, study_id: str) -> None:
    assert_opens(odd, study_id, quote(study_id, safe="/"))


@pytest.mark.parametrize("study_id", ["p1/s1/a.png", "similar", "a b"])
def test_a_trailing_slash_changes_nothing(odd: Live, study_id: str) -> None:
    address = f"/v1/studies/{quote(study_id)}"
    assert get(odd, f"{address}/") == get(odd, address)
    assert get(odd, f"{address}/similar/?k=1")[0] == 200


@pytest.mark.parametrize("study_id", ["nobody", "p1/s1", "p1/s1/a.png/x", "x", "%zz", "%ff%fe"])
def test_other_ids_are_not_found(odd: Live, study_id: str) -> None:
    for address in (f"/v1/studies/{study_id}", f"/v1/studies/{study_id}/similar"):
        status, problem = get(odd, address)
        assert (status, problem["code"]) == (404, "unknown_study"), address


def test_an_id_that_is_too_long_is_refused_with_the_limit(odd: Live) -> None:
    for written in ("x" * (LIMIT_ID + 1), "%F0%9F%98%80" * (LIMIT_ID + 1)):
        for address in (f"/v1/studies/{written}", f"/v1/studies/{written}/similar"):
            status, problem = get(odd, address)
            assert (status, problem["code"]) == (400, "invalid_request")
            assert str(LIMIT_ID) in problem["detail"]


@pytest.fixture(scope="module")
def odd_client(odd_catalog: Catalog) -> Iterator[Client]:
    with connect(odd_catalog) as client:
        yield client


@pytest.mark.parametrize("study_id", IDS, ids=[repr(each[:20]) for each in IDS])
def test_every_id_works_in_json_and_takes_feedback(odd_client: Client, study_id: str) -> None:
    for query in ({"study": {"study_id": study_id}}, {"text": "heart", "filters": {"exclude_studies": [study_id]}}):
        found = odd_client.post("/v1/search", json={**query, "k": 100})
        assert found.status_code == 200, found.text
        assert {hit["study_id"] for hit in found.json()["hits"]} == set(IDS) - {study_id}
    found = odd_client.post("/v1/search", json={"text": "heart", "filters": {"study_id": study_id}}).json()
    (hit,) = found["hits"]
    feedback = {"search_id": found["search_id"], "kind": "click"} | {
        name: hit[name] for name in ("study_id", "image_id")
    }
    assert odd_client.post("/v1/feedback", json=feedback).status_code == 200


def test_the_links_of_the_page_open_every_id(odd_client: Client) -> None:
    page = odd_client.get("/", params={"text": "heart", "k": 100}).text
    links = re.findall(r'class="like" href="([^"]+)"', page)
    assert len(links) == len(IDS)
    opened = set()
    for link in links:
        answer = odd_client.get(unescape(link))
        assert answer.status_code == 200, link
        (title,) = re.findall(r"<h2>Similar to study (.*?)</h2>", answer.text, re.DOTALL)
        opened.add(unescape(title))
    assert opened == set(IDS)


ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=LIMIT_ID)


@given(study_id=ids, similar=st.booleans())
def test_any_escaped_id_is_read(study_id: str, similar: bool) -> None:
    tail = "/similar" if similar else ""
    path = _escape_study_id(quote(study_id, safe="") + tail)
    part = path.removeprefix("/v1/studies/").removesuffix(tail)
    assert "/" not in part
    assert unescape_study_id(part) == study_id


@given(study_id=ids.filter(lambda text: not text.endswith(("/", "/similar"))), similar=st.booleans())
def test_any_id_is_read_with_unescaped_slashes(study_id: str, similar: bool) -> None:
    assert _escape_study_id(quote(study_id, safe="/") + "/similar" * similar) == _escape_study_id(
        quote(study_id, safe="") + "/similar" * similar
    )
