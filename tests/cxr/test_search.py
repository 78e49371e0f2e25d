"""`cxr search` as a person runs it, in a process of its own."""

import json
import re

import pytest

from tests.cxr.command_runs import run


def test_search_prints_one_document_whose_hits_match_the_filters(tiny_home):
    found = run(
        "search", "--text", "pleural effusion", "--with", "Pleural Effusion", "--without", "Cardiomegaly",
        "--view", "frontal", "-k", "3", "--json", home=tiny_home,
    )  # fmt: skip
    assert found["model"] == "tiny-a"
    assert found["interpreted"]["filters"] == {
        "all": ["Pleural Effusion"], "none": ["Cardiomegaly"], "view": "frontal",
    }  # fmt: skip
    assert 0 < len(found["hits"]) <= 3
    for hit in found["hits"]:
        assert {"score", "parts", "study_id", "image_id", "view", "present", "report"} <= hit.keys()
        assert hit["view"] == "frontal"
        assert "Pleural Effusion" in hit["present"]
        assert "Cardiomegaly" not in hit["present"]


def test_image_and_study_searches_print_tables(tiny_home):
    image = tiny_home / "archive" / "images" / "3_Frontal.png"
    assert "tiny-b" in run("search", "--image", image, "--model", "tiny-b", home=tiny_home).stdout
    assert "tiny-a" in run("search", "--study", "1", "--rerank", "none", home=tiny_home).stdout


def test_facet_counts_and_an_empty_result_are_printed(tiny_home):
    shown = run("search", "--text", "nodule", "--facet", "view", "--facet", "dataset", home=tiny_home).stdout
    assert re.search(r"^view: (?:frontal|lateral) \d+, ", shown, re.MULTILINE)
    assert "dataset: indiana " in shown
    nothing = run("search", "--text", "nodule", "--with", "Nodule", "--without", "Nodule", home=tiny_home).stdout
    assert nothing.startswith("No case matches all filters (filters: all=['Nodule']")


def test_words_that_no_report_contains_are_said_not_to_match_and_no_filter_is_blamed(tiny_home):
    nothing = run("search", "--text", "qqxzv", "--match", "bm25", home=tiny_home).stdout
    assert " ".join(nothing.split()) == "No report contains these words; use other words, or --match dense."


def test_options_add_to_a_query_in_json(tiny_home):
    query = {"text": "effusion", "filters": {"none": ["Nodule"]}, "collapse": "study", "facets": ["view"], "k": 4}
    path = tiny_home / "query.json"
    path.write_text(json.dumps(query))
    found = run("search", "--query", path, "--without", "Cardiomegaly", "-k", "2", "--json", home=tiny_home)
    assert found["interpreted"]["filters"] == {"none": ["Nodule", "Cardiomegaly"]}
    assert found["interpreted"]["collapse"] == "study"
    assert found["facets"].keys() == {"view"}
    assert len(found["hits"]) == 2
    inline = run(
        "search", "--query", json.dumps(query | {"k": 2}), "--without", "Cardiomegaly", "--json", home=tiny_home
    )
    assert inline["hits"] == found["hits"]


def test_options_cover_every_field_of_a_query(tiny_home):
    found = run(
        "search", "--text", "effusion", "--study", "2", "--like", "1", "--unlike", "3", "--match", "hybrid",
        "--rerank", '{"image": 1, "findings": 1}', "--filters", '{"has_report": true}', "--view", "frontal",
        "--diversity", "0.3", "--collapse", "report", "--facet", "present", "--no-interpret", "-k", "5", "--json",
        "--candidates", "7", home=tiny_home,
    )  # fmt: skip
    interpreted = found["interpreted"]
    assert interpreted["filters"] == {"view": "frontal", "has_report": True}
    assert interpreted["weights"] == {"image": 0.5, "findings": 0.5}
    assert (interpreted["match"], interpreted["diversity"], interpreted["interpret"]) == ("hybrid", 0.3, False)
    assert interpreted["candidates"] == 7
    assert found["hits"]
    assert not {"1", "2", "3"} & {hit["study_id"] for hit in found["hits"]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--query", "nowhere.json"), "neither JSON nor a JSON file"),
        (("--text", "x", "--filters", "{"), "--filters: expected JSON"),
        (("--text", "x", "--filters", '{"alll": []}'), "alll"),
        (("--query", '{"text": "x", "filters": [1]}'), "filters"),
        (("--text", "x", "--filters", '{"all": "Nodule"}', "--with", "Opacity"), "all"),
        (("--text", "x", "--view", "sideways"), "`$.filters.view`; expected frontal, lateral, unknown"),
        (("--text", "x", "-k", "0"), "k`"),
        (("--text", "x", "--candidates", "0"), "candidates"),
        (("--text", "x", "--match", "fuzzy"), "`$.match`; expected dense, bm25, hybrid"),
        (("--text", "x", "--facet", "view", "--facet", "age"), "expected present, uncertain, absent,"),
        (("--image", "nowhere.png"), "nowhere.png"),
        ((), "the query is empty"),
    ],
)
def test_invalid_queries_are_refused_with_the_name_of_the_field(tiny_home, arguments, message):
    refused = run("search", *arguments, home=tiny_home, code=1)
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr
