"""Models, versions and errors of the command line, most of them in a separate process."""

import json
from importlib.metadata import version
from pathlib import Path

import pytest

import cxr.main
from tests.cxr.command_runs import run


def test_a_search_without_a_model_uses_the_active_one(tiny_home):
    assert run("use", "tiny-b", "--json", home=tiny_home)["active"] == "tiny-b"
    assert run("search", "--text", "nodule", "--json", home=tiny_home)["model"] == "tiny-b"
    listed = {row["key"]: row for row in run("models", "--json", home=tiny_home)["models"]}
    assert listed["tiny-b"]["active"]
    assert listed["tiny-a"]["installed"]
    assert not listed["biomedclip"]["installed"]
    assert "biomedclip" in run("models", home=tiny_home).stdout


def test_models_show_prints_the_details_of_a_model(tiny_home):
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


def test_the_exit_code_of_ingest_distinguishes_complete_and_quarantined(tiny_home):
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


def test_invalid_input_ends_in_one_line_with_a_code(tiny_home, monkeypatch, capsys):
    for code, arguments in bad_inputs(tiny_home):
        for more in ((), ("--json",)):
            monkeypatch.setattr("sys.argv", ["cxr", *map(str, arguments), *more])
            with pytest.raises(SystemExit, match="1"):
                cxr.main.main()
            printed = capsys.readouterr()
            assert printed.err.splitlines()[-1].startswith(f"error [{code}]: "), (arguments, printed.err)
            assert "Traceback" not in printed.err
            assert not more or json.loads(printed.out)["error"]["code"] == code


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


def test_the_version_is_printed(tmp_path):
    assert run("--version", home=tmp_path).stdout.strip() == version("cxr-retrieval")
