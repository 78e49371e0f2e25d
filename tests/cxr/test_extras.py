"""A command whose extra is missing names it; a command does not need an extra that it does not use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OPTIONAL = {
    "onnxruntime": "cpu",
    "ir_measures": "eval",
    "matplotlib": "eval",
    "onnx": "export",
    "onnxscript": "export",
    "open_clip": "export",
    "torch": "export",
    "torchvision": "export",
    "transformers": "export",
    "pydicom": "dicom",
    "gdcm": "dicom",
    "pyarrow": "parquet",
    "opentelemetry": "otel",
}

# Blocks the import of the packages in `sys.argv[1]`, as if they were not installed, and runs the rest as `cxr`.
BLOCKING = """
import importlib.abc, sys
blocked = set(sys.argv[1].split(","))
class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Block())
sys.argv = ["cxr", *sys.argv[2:]]
from cxr.main import main
main()
"""
# The same for several commands in one process. JSON in `sys.argv[2]`; ends with the first that fails.
BLOCKING_SEVERAL = (
    BLOCKING.partition("sys.argv = ")[0]
    + """
import json
from cxr.main import main
for words in json.loads(sys.argv[2]):
    sys.argv = ["cxr", *words]
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            sys.exit(f"{words} ended with {ended.code}")
"""
)


def run_without(
    packages: list[str], *words: object, home: Path, script: str = BLOCKING
) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"CXR_HOME": str(home), "CXR_DEVICE": "cpu"}
    command = [sys.executable, "-c", script, ",".join(packages), *map(str, words)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("package", "words"),
    [
        ("ir_measures", ("evaluate", "--model", "tiny-a")),
        ("ir_measures", ("tune", "--model", "tiny-a")),
        ("matplotlib", ("compare", "--models", "tiny-a,tiny-b")),
        ("torch", ("export", "biomedclip")),
        (
            "torch",
            (
                "finetune",
                "--reports-csv",
                "r",
                "--projections-csv",
                "p",
                "--images-dir",
                "i",
                "--splits-csv",
                "s",
                "--out",
                "o",
            ),
        ),
        ("onnxruntime", ("search", "--text", "nodule")),
    ],
)
def test_a_missing_package_names_the_extra_before_anything_is_done(
    package: str, words: tuple[str, ...], tiny_home: Path
) -> None:
    done = run_without([package], *words, home=tiny_home)
    assert done.returncode == 1
    message = done.stderr.splitlines()[-1]
    assert message.startswith("error [missing_extra]: ") and package in message
    assert f"pip install 'cxr-retrieval[{OPTIONAL[package]}]'" in message
    assert "Traceback" not in done.stderr


def test_the_error_is_a_json_document_for_programs(tiny_home: Path) -> None:
    done = run_without(["ir_measures"], "evaluate", "--model", "tiny-a", "--json", home=tiny_home)
    assert json.loads(done.stdout)["error"]["code"] == "missing_extra"


def test_commands_that_load_no_model_need_no_extra(tiny_home: Path) -> None:
    commands = (
        ("--help",),
        ("--version",),
        ("export", "--help"),
        ("finetune", "--help"),
        ("models", "--json"),
        ("models", "show", "tiny-a"),
        ("use", "tiny-b"),
        ("doctor",),
        ("ingest", "status"),
        ("keys", "list"),
        ("experiment", "status"),
        ("labels", "--explain", "No effusion."),
        ("push", "tiny-a", "--to", tiny_home / "copy"),
        ("snapshot", "create", "tiny-a", tiny_home / "tiny.zip"),
        ("drop", "tiny-a", "--yes", "--force"),
    )
    words = json.dumps([[str(word) for word in command] for command in commands])
    done = run_without(list(OPTIONAL), words, home=tiny_home, script=BLOCKING_SEVERAL)
    assert done.returncode == 0, done.stderr


def test_ingest_and_search_need_only_the_model_runtime(tiny_home: Path) -> None:
    others = [name for name in OPTIONAL if name != "onnxruntime"]
    archive = tiny_home / "archive"
    table = tiny_home / "cases.csv"
    table.write_text("image,study_id,report\n1_Frontal.png,1,No effusion.\n")
    for words in (
        ("ingest", "--model", "tiny-a", "--table", table, "--images-dir", archive / "images", "--dataset", "cases"),
        ("search", "--text", "nodule"),
        ("search", "--image", archive / "images" / "3_Frontal.png"),
    ):
        done = run_without(others, *words, home=tiny_home)
        # 3: complete, but the table does not name all files of the folder.
        assert done.returncode in (0, 3), (words, done.stderr)
