"""`cxr evaluate`, `cxr compare` and `cxr doctor` as a person runs them."""

from __future__ import annotations

import csv
import json
import os
import re
from pathlib import Path

import pytest

from retrieval.index.edge.index import EdgeIndex
from tests.conftest import write_archive
from tests.cxr.command_runs import run

FAST = ("--resamples", "100", "--queries", "50")


def test_evaluate_prints_a_document_with_results_checks_and_cost(tiny_home):
    found = run("evaluate", "--model", "tiny-a", *FAST, "--json", home=tiny_home)
    assert found["model"] == "tiny-a" and found["bundle_id"]
    assert found["data"]["images"] == 14 and found["data"]["collection_images"] == 24
    tasks = {(row["task"], row["system"]) for row in found["results"]}
    for task in ("image_to_report_strict", "report_to_image_grouped"):
        for system in ("tiny-a", "random", "BM25 on reports", "label filter only"):
            assert (task, system) in tasks
    assert found["ann"]["recall"] == {"10": 1.0}  # 24 images have no hundredth neighbour
    denied = {probe["text"]: probe for probe in found["probes"]}["no pleural effusion"]
    assert denied["share_denied"] == 0 < denied["chance"]
    cost = found["resources"]
    for name in ("encode_image", "encode_text", "query", "query_reranked", "text_query"):
        assert 0 < cost[name]["p50_ms"] <= cost[name]["p95_ms"]
    assert cost["index_bytes"] > 10_000 and cost["bundle_bytes"] > 1_000 and cost["peak_memory_bytes"] > 10**7
    # The fixture ingests without a ledger.
    assert cost["build"] is None and "build: not recorded" in cost["notes"]


def test_evaluate_writes_files_and_prints_markdown(tiny_home, tmp_path):
    assert "| Model | Recall@1 |" in run("evaluate", "--model", "tiny-a", *FAST, home=tiny_home).stdout
    out = tmp_path / "out"
    run("evaluate", "--model", "tiny-a", *FAST, "--out", out, home=tiny_home)
    assert json.loads((out / "tiny-a.json").read_text())["model"] == "tiny-a"
    assert (out / "tiny-a.md").read_text().startswith("# Evaluation: tiny-a")


def test_compare_writes_three_reports_that_agree(tiny_home, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "comparison.html").write_text("of an earlier version")
    (out / "comparison.html").chmod(0o644)
    found = run("compare", "--models", "tiny-a,tiny-b", *FAST, "--out", out, "--json", home=tiny_home)
    assert {path.name for path in out.iterdir()} == {
        "comparison.json", "comparison.md", "comparison.html", "tiny-a.json", "tiny-b.json",
    }  # fmt: skip
    assert json.loads((out / "comparison.json").read_text()) == found
    assert not [path for path in out.glob("comparison.*") if path.stat().st_mode & 0o077]
    page, text = (out / "comparison.html").read_text(), (out / "comparison.md").read_text()
    for line in found["verdict"]:
        assert line in text
    assert "data:image/webp;base64," in page
    for evaluation in found["evaluations"]:
        assert evaluation["bundle_id"] in page and evaluation["bundle_id"] in text
    plain = tmp_path / "plain"
    files = [word for name in ("tiny-a", "tiny-b") for word in ("--evaluation", out / f"{name}.json")]
    again = run("compare", *files, "--no-thumbnails", "--out", plain, "--json", home=tiny_home)
    assert again == found
    assert "data:image/webp" not in (plain / "comparison.html").read_text()


def test_compare_refuses_different_protocols_and_different_data(tiny_home, tmp_path):
    run("evaluate", "--model", "tiny-a", *FAST, "--out", tmp_path / "a", home=tiny_home)
    run("evaluate", "--model", "tiny-b", *FAST, "--view", "all", "--out", tmp_path / "b", home=tiny_home)
    files = ("--evaluation", tmp_path / "a" / "tiny-a.json", "--evaluation", tmp_path / "b" / "tiny-b.json")
    failed = run("compare", *files, "--out", tmp_path / "c", home=tiny_home, code=1)
    assert "error [invalid_request]" in failed.stderr and "their protocol differs" in failed.stderr
    index = EdgeIndex(tiny_home / "index")
    collection = index.open("cxr_tiny-b")
    collection.delete([next(p.point_id for p in collection.scroll(limit=None) if p.payload["view"] == "frontal")])
    index.close()
    failed = run("compare", "--models", "tiny-a,tiny-b", *FAST, "--out", tmp_path / "d", home=tiny_home, code=1)
    assert "their data differs" in failed.stderr


def archive_with_split(folder: Path) -> Path:
    paths = write_archive(folder, 42, seed=3)
    paths["reports_csv"].rename(folder / "indiana_reports.csv")
    paths["projections_csv"].rename(folder / "indiana_projections.csv")
    with (folder / "splits.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["uid", "split"], *([n, "val" if n % 3 else "train"] for n in range(42))])
    return folder


def test_data_is_ingested_for_this_evaluation_only_and_its_build_is_measured(tiny_home, tmp_path):
    data = archive_with_split(tmp_path / "archive")
    found = run("evaluate", "--model", "tiny-b", "--data", data, "--split", "val", *FAST, "--json", home=tiny_home)
    assert found["protocol"]["split"] == "val"
    assert found["data"]["studies"] == 28 and found["data"]["datasets"] == ["indiana"]
    build = found["resources"]["build"]
    assert build["images"] == found["data"]["collection_images"] and build["seconds"] > 0
    # The collections of the home have not changed.
    assert run("evaluate", "--model", "tiny-b", *FAST, "--json", home=tiny_home)["data"]["collection_images"] == 24


def test_a_split_of_a_collection_needs_its_table(tiny_home, tmp_path):
    table = tmp_path / "splits.csv"
    table.write_text("uid,split\n" + "".join(f"{n},{'val' if n > 6 else 'train'}\n" for n in range(14)))
    given = ("--splits-csv", table, "--split", "val")
    found = run("evaluate", "--model", "tiny-a", *given, *FAST, "--json", home=tiny_home)
    assert found["data"]["studies"] == 7
    for arguments in (("--split", "val"), ("--splits-csv", table), (*given[:3], "test"), ("--view", "oblique")):
        failed = run("evaluate", "--model", "tiny-a", *arguments, home=tiny_home, code=1)
        assert re.search(r"error \[(invalid_request|bad_source)\]", failed.stderr)


@pytest.mark.parametrize("models", ["tiny-a,nobody", "tiny-a"])
def test_a_comparison_that_is_not_possible_ends_in_one_line(tiny_home, tmp_path, models):
    failed = run("compare", "--models", models, *FAST, "--out", tmp_path / "c", home=tiny_home, code=1)
    assert failed.stderr.splitlines()[-1].startswith("error [")
    assert "Traceback" not in failed.stderr


def test_the_build_time_comes_from_the_ledger(tiny_home):
    archive = tiny_home / "archive"
    paths = ("--reports-csv", archive / "reports.csv", "--projections-csv", archive / "projections.csv")
    run(
        "ingest",
        *paths,
        "--images-dir",
        archive / "images",
        "--model",
        "tiny-a",
        "--recreate",
        "--json",
        home=tiny_home,
    )
    cost = run("evaluate", "--model", "tiny-a", *FAST, "--json", home=tiny_home)["resources"]
    assert cost["build"]["images"] == 24 and cost["build"]["seconds"] > 0


def test_the_exit_code_of_doctor_tells_whether_there_are_problems(tiny_home):
    found = run("doctor", "--json", home=tiny_home)
    assert found["healthy"] and [each["model"] for each in found["collections"]] == ["tiny-a", "tiny-b"]
    assert "tiny-a (cxr_tiny-a): 24 images of 14 studies" in run("doctor", home=tiny_home).stdout
    os.remove(tiny_home / "models" / "tiny-b" / "image.onnx")
    damaged = run("doctor", "--json", home=tiny_home, code=3)
    assert not damaged["healthy"]
    assert [each["healthy"] for each in damaged["collections"]] == [True, False]
    assert run("doctor", "--model", "tiny-a", "--json", home=tiny_home)["healthy"]
    assert "no_collection" in run("doctor", "--model", "nobody", home=tiny_home, code=1).stderr
