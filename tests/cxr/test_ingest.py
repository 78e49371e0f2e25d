"""`cxr ingest` and its subcommands, in this process because a new one takes seconds."""

import io
import json
import sys

import pytest

import cxr.main
from retrieval.index.edge.index import EdgeIndex
from tests.conftest import write_archive, write_tiny_bundle
from tests.ingest.worker_fixtures import edit_rows


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in ("CXR_INDEX", "CXR_INDEX_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CXR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CXR_DEVICE", "cpu")
    monkeypatch.setenv("CXR_THREADS", "1")
    write_tiny_bundle(tmp_path / "home" / "models", "tiny", seed=0)
    return tmp_path / "home"


@pytest.fixture
def run(home, monkeypatch, capsys):
    """A function that runs a command and gives exit code, stdout (the document with --json) and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["cxr", *map(str, arguments)])
        try:
            cxr.main.main()
            code = 0
        except SystemExit as ended:
            code = ended.code or 0
        out, err = capsys.readouterr()
        return code, json.loads(out) if "--json" in arguments else out, err

    return run


@pytest.fixture
def ingest(run, archive):
    paths = [text for name, path in archive.items() for text in (f"--{name.replace('_', '-')}", path)]

    def ingest(*more):
        return run("ingest", "--model", "tiny", "--batch-size", 4, *paths, *more)

    return ingest


def spoil(archive, name="1_Frontal.png"):
    path = archive["images_dir"] / name
    good = path.read_bytes()
    path.write_bytes(b"not an image")
    return lambda: path.write_bytes(good)


def test_the_exit_code_distinguishes_complete_quarantined_and_failed(ingest, run, archive):
    code, found, _ = ingest("--json")
    assert (code, found["indexed"], found["quarantined"]) == (0, 24, [])
    spoil(archive)
    code, found, _ = ingest("--json")
    assert (code, found["unchanged"], [item["file"] for item in found["quarantined"]]) == (3, 23, ["1_Frontal.png"])
    archive["reports_csv"].unlink()
    code, found, said = ingest("--json")
    assert (code, found["error"]["code"]) == (1, "bad_source")
    assert "reports.csv" in said
    assert run("ingest", "--json")[0] == 1  # names no model
    assert run("ingest", "--no-such-option")[0] == 2


def test_without_json_the_summary_names_each_quarantined_file(ingest, archive):
    spoil(archive)
    code, out, said = ingest()
    assert (code, out) == (3, "")
    assert "cxr_tiny: 23 indexed, 0 updated, 0 unchanged, 1 quarantined" in said
    assert "quarantined [wrong_type] 1_Frontal.png" in said
    assert "frontal 13" in said


def shown(ran):
    """The output of a successful command, stdout and stderr."""
    code, out, err = ran
    assert code == 0
    return out + err


def remove_study_2(archive):
    edit_rows(archive["projections_csv"], lambda row: None if row[0] == "2" else row)
    for view in ("Frontal", "Lateral"):
        (archive["images_dir"] / f"2_{view}.png").unlink()


def test_status_lists_runs_and_quarantine_and_needs_no_lock(ingest, run, archive, home):
    assert "no ledger found" in shown(run("ingest", "status"))
    spoil(archive)
    ingest()
    index = EdgeIndex(home / "index")
    index.open("cxr_tiny")  # locked, as by a service
    code, found, _ = run("ingest", "status", "--json")
    assert code == 0
    (collection,) = found["collections"]
    assert (collection["model"], collection["by_code"]) == ("tiny", {"wrong_type": 1})
    assert [(entry["state"], entry["part"], entry["summary"]["indexed"]) for entry in collection["runs"]] == [
        ("complete", "1/1", 23)
    ]
    said = shown(run("ingest", "status", "--model", "tiny"))
    assert "indiana" in said
    assert "1 files quarantined (wrong_type 1)" in said and "1_Frontal.png" in said and "cxr ingest retry" in said
    assert run("ingest", "status", "--model", "other", "--json")[1]["collections"] == []
    index.close()


def test_status_lists_twenty_quarantined_files_or_all(ingest, run, archive):
    for path in sorted(archive["images_dir"].iterdir())[:22]:
        path.write_bytes(b"")
    ingest()
    said = shown(run("ingest", "status"))
    assert said.count("[empty_file]") == 20 and "and 2 more" in said
    assert shown(run("ingest", "status", "--all")).count("[empty_file]") == 22


def test_retry_reads_only_the_quarantined_files_again(ingest, run, archive):
    repair = spoil(archive)
    spoil(archive, "2_Frontal.png")
    ingest()
    code, found, _ = run("ingest", "retry", "--model", "tiny", "--json")
    assert (code, found["retried"][0]["indexed"], len(found["retried"][0]["quarantined"])) == (3, 0, 2)
    repair()
    code, found, _ = run("ingest", "retry", "--model", "tiny", "--json")
    (summary,) = found["retried"]
    assert (code, summary["indexed"], summary["unchanged"]) == (3, 1, 0)
    assert [item["file"] for item in summary["quarantined"]] == ["2_Frontal.png"]
    edit_rows(archive["projections_csv"], lambda row: None if row[1] == "2_Frontal.png" else row)
    (archive["images_dir"] / "2_Frontal.png").unlink()
    assert run("ingest", "retry", "--model", "tiny")[0] == 0
    code, found, said = run("ingest", "retry", "--model", "tiny", "--json")
    assert (code, found) == (0, {"retried": []})
    assert "no file of tiny is quarantined" in said
    assert run("ingest", "status", "--json")[1]["collections"][0]["quarantined"] == []


def test_prune_shows_the_count_and_asks_for_confirmation(ingest, archive, monkeypatch):
    ingest()
    remove_study_2(archive)
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    code, _, said = ingest("--prune")
    assert code == 0
    assert "2 of 24 images of indiana are no longer in the source" in said
    assert "Remove them from the index?" in said
    assert ", 2 removed" not in said
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert ", 2 removed" in ingest("--prune")[2]


def test_prune_with_yes_does_not_ask(ingest, archive):
    ingest()
    remove_study_2(archive)
    code, found, said = ingest("--prune", "--yes", "--json")
    assert (code, found["pruned"]) == (0, 2)
    assert "2 of 24" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--prune", "--yes", "--worker", "1/2"], "whole source"),
        (["--recreate", "--worker", "1/2"], "drop"),
        (["--worker", "3/2"], "no part 3 of 2"),
        (["--worker", "half"], "2/8"),
        (["--prune"], "--yes"),
        (["--quantization", "int4"], "int8"),
        (["--shards", "2"], "one shard"),
        (["--table", "x.csv"], "name one source"),
    ],
)
def test_contradicting_options_are_refused_before_any_work(options, said, ingest, home):
    code, found, err = ingest(*options, "--json")
    assert (code, found["error"]["code"]) == (1, "invalid_request")
    assert said in err
    assert not list((home / "index").glob("cxr_*/collection.json"))


def test_finish_completes_a_shared_ingest(ingest, run):
    indexed = 0
    for part in ("2/3", "1/3", "3/3"):
        code, found, _ = ingest("--worker", part, "--json")
        assert code == 0
        indexed += found["indexed"]
    assert indexed == 24
    states = run("ingest", "status", "--json")[1]["collections"][0]["runs"]
    assert {entry["part"] for entry in states} == {"1/3", "2/3", "3/3"}
    code, found, _ = run("ingest", "finish", "--model", "tiny", "--json")
    assert (code, found["complete"], found["counts"]) == (0, True, {"indiana": 24})
    assert "tiny is complete: 24 images of indiana" in run("ingest", "finish", "--model", "tiny")[2]


def test_finish_without_any_part_fails(run):
    code, found, _ = run("ingest", "finish", "--model", "tiny", "--json")
    assert (code, found["error"]["code"]) == (1, "no_collection")


def test_rehash_and_recreate_are_options(ingest):
    ingest()
    assert ingest("--rehash", "--json")[1]["unchanged"] == 24
    assert ingest("--recreate", "--json")[1]["indexed"] == 24


def test_a_second_dataset_is_stored_in_the_same_collection(ingest, run, tmp_path):
    ingest()
    other = write_archive(tmp_path / "other", 3, seed=2)
    code, found, _ = run(
        "ingest", "--model", "tiny", "--images-dir", other["images_dir"], "--dataset", "plain", "--json"
    )
    assert (code, found["indexed"]) == (0, 5)
    found = run("ingest", "status", "--json")[1]["collections"][0]["runs"]
    assert {(entry["dataset"], entry["state"]) for entry in found} == {("indiana", "complete"), ("plain", "complete")}


def test_the_summary_lists_label_terms_of_no_vocabulary_and_the_ledger_does_not(run, tmp_path, home):
    images = tmp_path / "archive" / "images"
    write_archive(tmp_path / "archive")
    names = sorted(path.name for path in images.iterdir())[:3]
    table = tmp_path / "labels.csv"
    cells = ("cardiomegaly|aortic elongation", "aortic elongation", "No Finding")
    rows = "".join(f"{name};{cell};1\n" for name, cell in zip(names, cells, strict=True))
    table.write_text(f"image;Finding Labels;Edema\n{rows}")
    command = ("ingest", "--model", "tiny", "--table", table, "--images-dir", images)
    code, found, _ = run(*command, "--json")
    assert code == 3  # files that no row names
    assert found["unknown_terms"] == {"Aortic Elongation": 2}
    assert found["notes"] == {"labels were read from the columns Edema": 3}
    said = run(*command)[2]
    assert "label terms in neither vocabulary, stored unchanged (images): Aortic Elongation 2" in said
    (ledger,) = (home / "ledger").rglob("*.sqlite")
    assert b"Aortic" not in ledger.read_bytes()
