"""The command line as a person runs it, in a process of its own."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest


def run(*arguments, home: Path, code: int = 0):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CXR_")} | {
        "CXR_HOME": str(home)
    }
    command = [sys.executable, "-c", "from cxr.main import main; main()", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if "--json" in arguments else done


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


def test_counts_are_printed_and_so_is_that_nothing_was_found(tiny_home):
    shown = run("search", "--text", "nodule", "--facet", "view", "--facet", "dataset", home=tiny_home).stdout
    assert re.search(r"^view: (?:frontal|lateral) \d+, ", shown, re.MULTILINE)
    assert "dataset: indiana " in shown
    nothing = run("search", "--text", "nodule", "--with", "Nodule", "--without", "Nodule", home=tiny_home).stdout
    assert nothing.startswith("No case matches all filters (filters: all=['Nodule']")


def test_a_query_is_one_json_document_that_options_add_to(tiny_home):
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


def test_options_say_all_that_a_query_can(tiny_home):
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
        ((), "nothing to look for"),
    ],
)
def test_wrong_queries_are_refused_by_name(tiny_home, arguments, message):
    refused = run("search", *arguments, home=tiny_home, code=1)
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr


def test_use_switches_what_a_search_without_model_sees(tiny_home):
    assert run("use", "tiny-b", "--json", home=tiny_home)["active"] == "tiny-b"
    assert run("search", "--text", "nodule", "--json", home=tiny_home)["model"] == "tiny-b"
    listed = {row["key"]: row for row in run("models", "--json", home=tiny_home)["models"]}
    assert listed["tiny-b"]["active"]
    assert listed["tiny-a"]["installed"]
    assert not listed["biomedclip"]["installed"]
    assert "biomedclip" in run("models", home=tiny_home).stdout


def test_models_show_tells_all_of_one_model(tiny_home):
    known = run("models", "show", "medsiglip", "--json", home=tiny_home)
    assert known["source"] == "aysangh/medsiglip-448-vindr-bin"
    assert not known["installed"] and known["manifest"] is None
    assert {"licence", "loader", "revision", "training", "quality", "preprocessing", "gated", "context_length"} <= set(
        known
    )
    mine = run("models", "show", "tiny-a", "--json", home=tiny_home)
    assert mine["installed"] and mine["manifest"]["parity"]["token_ids_equal"]
    table = run("models", "show", "tiny-a", home=tiny_home).stdout
    assert "parity.image_cosine_min" in table and "tokenization.context_length" in table
    assert "biomedclip" in run("models", "show", "nobody", home=tiny_home, code=1).stderr


def test_ingest_tells_complete_from_quarantined_by_its_exit_code(tiny_home):
    options = [f"--{name.replace('_', '-')}" for name in ("reports_csv", "projections_csv", "images_dir")]
    archive = tiny_home / "archive"
    paths = [archive / "reports.csv", archive / "projections.csv", archive / "images"]
    arguments = ["ingest", *(word for pair in zip(options, paths, strict=True) for word in pair), "--model", "tiny-a"]
    again = run(*arguments, "--json", home=tiny_home)
    assert (again["indexed"], again["unchanged"], again["quarantined"]) == (0, 24, [])
    (archive / "images" / "1_Lateral.png").unlink()
    short = run(*arguments, "--json", home=tiny_home, code=3)
    assert [(item["file"], item["code"]) for item in short["quarantined"]] == [("1_Lateral.png", "missing_file")]
    assert short["unchanged"] == 23
    assert {"model", "collection", "bundle_id", "by_view", "by_finding", "seconds", "images_per_second"} <= short.keys()


def bad_inputs(home: Path):
    text = ("search", "--text", "nodule")
    yield "unknown_model", (*text, "--model", "huge")
    yield "invalid_request", (*text, "-k", "0")
    yield "invalid_request", ("search",)
    yield "invalid_request", (*text, "--view", "oblique")
    yield "invalid_request", (*text, "--device", "tpu")
    yield "device_unavailable", (*text, "--device", "cuda")
    yield "unknown_finding", (*text, "--with", "Megacardia")
    yield "unknown_study", ("search", "--study", "nobody")
    yield "wrong_type", ("search", "--image", home / "archive" / "reports.csv")
    yield "missing_file", ("search", "--image", home / "nowhere.png")
    yield "no_collection", (*text, "--model", "phantom-clip")
    yield "no_collection", ("use", "--back")
    yield "no_collection", ("push", "tiny-c", "--to", home / "elsewhere")
    yield "invalid_request", ("use",)
    yield "missing_file", ("snapshot", "restore", home / "nowhere.zip")
    yield "model_active", ("drop", "tiny-a", "--yes")
    yield "unknown_model", ("export", "my-model")
    yield "export_failed", ("export", "medsiglip-448")


def test_bad_input_ends_in_one_line_with_a_code(tiny_home):
    for code, arguments in bad_inputs(tiny_home):
        failed = run(*arguments, home=tiny_home, code=1)
        assert failed.stderr.splitlines()[-1].startswith(f"error [{code}]: "), (arguments, failed.stderr)
        assert "Traceback" not in failed.stderr
        assert run(*arguments, "--json", home=tiny_home, code=1)["error"]["code"] == code


def test_a_missing_column_is_named_and_nothing_is_written(tiny_home):
    archive = tiny_home / "archive"
    reports = archive / "reports.csv"
    reports.write_text(reports.read_text().replace("Problems", "Trouble", 1))
    failed = run(
        "ingest", "--reports-csv", reports, "--projections-csv", archive / "projections.csv",
        "--images-dir", archive / "images", "--model", "tiny-a", "--index", tiny_home / "fresh", home=tiny_home, code=1,
    )  # fmt: skip
    assert "error [missing_column]" in failed.stderr
    assert "Problems" in failed.stderr
    assert not (tiny_home / "fresh").exists()


def test_a_changed_byte_in_a_bundle_is_refused(tiny_home):
    path = tiny_home / "models" / "tiny-a" / "image.onnx"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert "error [bundle_damaged]" in run("search", "--text", "nodule", home=tiny_home, code=1).stderr


def test_the_version_is_told(tmp_path):
    assert run("--version", home=tmp_path).stdout.strip() == version("cxr-retrieval")
