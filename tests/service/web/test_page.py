"""The web page: its content, and that text of reports and requests is always escaped."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from archives.indiana import IndianaSource
from ingest.worker import Worker
from retrieval.catalog import Catalog
from tests.service.conftest import Client


class _Markup(HTMLParser):
    """Collects tags with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def count_cards(text: str) -> int:
    return text.count('<li class="card">')


def test_home_shows_form_findings_and_disclaimer(client: Client) -> None:
    answer = client.get("/")
    assert answer.status_code == 200
    assert "24 images" in answer.text
    assert "For research use only" in answer.text
    assert count_cards(answer.text) == 0
    markup = _Markup(answer.text)
    assert {"name": "with", "value": "Cardiomegaly", "type": "checkbox"} in markup.attributes("input")
    assert "<option>tiny-b</option>" in answer.text


def test_text_search_shows_hits_and_applied_filters(client: Client) -> None:
    text = client.get("/?text=enlarged+heart&with=Cardiomegaly&view=frontal&k=3").text
    assert count_cards(text) == 3
    assert "with Cardiomegaly" in text
    assert "frontal view" in text
    assert 'class="bar"' in text
    assert text.count("More like this") == 3


def test_hits_carry_their_thumbnail(client: Client) -> None:
    text = client.get("/?text=heart&k=2").text
    sources = [image["src"] for image in _Markup(text).attributes("img") if "/v1/images/" in str(image["src"])]
    assert len(sources) == 2
    assert all(client.get(str(source)).status_code == 200 for source in sources)


def test_more_like_this_keeps_the_filters(client: Client) -> None:
    text = client.get("/?text=effusion&with=Pleural+Effusion&view=frontal&model=tiny-b&k=4").text
    links = [str(a["href"]) for a in _Markup(text).attributes("a") if "study=" in str(a.get("href"))]
    fields = dict(parse_qsl(urlsplit(links[0]).query))
    assert fields["with"] == "Pleural Effusion"
    assert (fields["view"], fields["model"], fields["k"]) == ("frontal", "tiny-b", "4")
    followed = client.get(links[0]).text
    assert f"Similar to study {fields['study']}" in followed
    assert "without Cardiomegaly" not in followed


def test_image_search_shows_the_query_image_and_stores_nothing(client: Client, png: bytes, shared_home: Path) -> None:
    before = sorted(shared_home.rglob("*.webp"))
    answer = client.post("/search/image", files={"image": ("a.png", png)}, data={"with": "Nodule", "k": "2"})
    assert answer.status_code == 200
    assert count_cards(answer.text) == 2
    assert 'src="data:image/webp;base64,' in answer.text
    assert "with Nodule" in answer.text
    assert sorted(shared_home.rglob("*.webp")) == before


def test_a_combined_search_names_its_text_and_study(client: Client, png: bytes) -> None:
    image = {"image": ("a.png", png)}
    words = "Combined with the text “a <b>”".replace("<b>", "&lt;b&gt;")
    alone = client.post("/search/image", files=image).text
    assert "Combined with" not in alone
    assert "to study" not in alone
    with_words = client.post("/search/image", files=image, data={"text": "a <b>"}).text
    assert with_words.count(words) == 1
    with_all = client.post("/search/image", files=image, data={"text": "a <b>", "study": "2"}).text
    assert with_all.count(words) == 1
    assert "Also similar to study 2" in with_all
    assert client.get("/?study=2&text=a+<b>").text.count(words) == 1


def test_a_study_id_in_two_datasets_needs_the_dataset(catalog: Catalog, own_client: Client, tiny_home: Path) -> None:
    assert "<option>other" not in own_client.get("/").text
    archive, retriever = tiny_home / "archive", catalog.retriever()
    other = IndianaSource(archive / "reports.csv", archive / "projections.csv", archive / "images", dataset="other")
    Worker(retriever.encoder, catalog.index).run(other)
    refused = own_client.get("/?study=1")
    assert refused.status_code == 400
    assert "several datasets" in refused.text
    assert "<option>other" in refused.text
    chosen = own_client.get("/?study=1&dataset=other")
    assert chosen.status_code == 200
    assert "dataset other" in chosen.text
    links = [link for tag in _Markup(chosen.text).attributes("a") if "study=" in (link := tag["href"] or "")]
    assert links
    assert all("dataset=other" in link for link in links)


def test_report_text_is_escaped(client: Client) -> None:
    text = client.get("/?text=nodule&with=Nodule&k=10").text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "<script" not in text


@pytest.mark.parametrize("name", ["text", "study", "with", "without", "model", "view", "k", "rerank", "other"])
def test_fields_of_the_address_are_escaped(client: Client, name: str) -> None:
    answer = client.get("/", params={"text": "heart", name: '"><script>alert(1)</script>'})
    assert answer.status_code in (200, 400, 404)
    assert "<script" not in answer.text


def test_negated_findings_are_shown_as_filters(client: Client) -> None:
    text = client.get("/?text=cardiomegaly,+no+pleural+effusion").text
    assert "since the text negates it: Pleural Effusion" in text
    assert "without Pleural Effusion" in text


def test_negations_of_unknown_findings_are_shown(client: Client) -> None:
    assert "since the finding is unknown: “no pnumothorax”" in client.get("/?text=nodule,+no+pnumothorax").text
    assert "is unknown" not in client.get("/?text=nodule,+no+pneumothorax").text


def test_words_that_no_report_contains_are_reported(client: Client) -> None:
    text = client.get("/?text=xyzzy&match=bm25").text
    assert "No report contains these words" in text
    assert "Remove one" not in text


def test_a_search_without_hits_says_so(client: Client) -> None:
    answer = client.get("/?text=heart&with=Nodule&with=Opacity")
    assert answer.status_code == 200
    assert "No case matches all filters" in answer.text


@pytest.mark.parametrize(
    ("address", "status", "title"),
    [
        ("/?text=heart&model=no", 404, "Unknown model"),
        ("/?study=nobody", 404, "Unknown study"),
        ("/?text=heart&with=Nonsense", 400, "Unknown finding"),
        ("/?text=heart&k=0", 400, "Invalid request"),
        ("/?text=heart&k=%C2%B2", 400, "Invalid request"),
        ("/?text=heart&view=oblique", 400, "Invalid request"),
        ("/?text=" + "x" * 2001, 400, "Invalid request"),
    ],
)
def test_errors_are_shown_with_the_form(client: Client, address: str, status: int, title: str) -> None:
    answer = client.get(address)
    assert answer.status_code == status
    assert f"<h2>{title}</h2>" in answer.text
    assert 'name="text"' in answer.text


def test_too_many_rated_studies_are_refused(client: Client) -> None:
    page = client.get("/?text=heart&" + "&".join(f"unlike={number}" for number in range(21)))
    assert page.status_code == 400
    assert "unlike: at most 20 studies" in page.text


def test_upload_errors_are_shown_with_the_form(client: Client) -> None:
    answer = client.post("/search/image", files={"image": ("a.png", b"no image")})
    assert answer.status_code == 422
    assert "<h2>Wrong type</h2>" in answer.text
    answer = client.post("/search/image", files={"image": ("", b"")}, data={"k": "5"})
    assert answer.status_code == 400
    assert "choose an image first" in answer.text


@pytest.mark.parametrize("address", ["/", "/?text=heart", "/schema"])
def test_pages_load_nothing_from_other_sites(client: Client, address: str) -> None:
    answer = client.get(address)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    markup = _Markup(answer.text)
    loaded = [tag.get(name) for kind, name in (("img", "src"), ("link", "href")) for tag in markup.attributes(kind)]
    assert loaded
    assert all(str(source).startswith(("/", "data:")) for source in loaded)
    assert not markup.attributes("script")
    assert not markup.attributes("style")
    assert not any("style" in attributes for _, attributes in markup.tags)
    for source in {str(source) for source in loaded if str(source).startswith("/static/")}:
        assert client.get(source).status_code == 200


def test_every_field_has_a_label(client: Client) -> None:
    text = client.get("/?text=heart").text
    markup = _Markup(re.sub(r"(?s)<label[^>]*>.*?</label>", lambda match: match[0].replace("<input", "<in"), text))
    labelled = {label.get("for") for label in markup.attributes("label")}
    fields = [field for field in markup.attributes("input") if field.get("type") != "hidden"]
    assert all(field.get("id") in labelled for field in fields)


def test_the_static_folder_serves_only_its_own_files(client: Client) -> None:
    for path in ("/static/../app.py", "/static/%2e%2e/templates/page.html", "/static/nothing.css"):
        assert client.get(path).status_code == 404
