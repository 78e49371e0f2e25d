"""What the README says exists."""

import json
import re
import shlex
from pathlib import Path

import typer.main

import cxr.main
from tests.architecture.settings_table import README, render

COMMANDS = typer.main.get_command(cxr.main.app).commands
TEXT = README.read_text()


def test_the_settings_table_is_the_one_the_settings_make():
    assert render() in TEXT, "run: python -m tests.architecture.settings_table"


def test_every_command_and_option_of_the_readme_exists():
    joined = TEXT.replace("\\\n", " ")
    lines = [line.split(" #")[0] for line in joined.splitlines() if re.match(r"(cxr|.*&& cxr) ", line)]
    calls = [call for line in lines for call in line.split("&&") if call.strip().startswith("cxr ")]
    assert len(calls) >= 8
    for call in calls:
        words = shlex.split(call)
        command, rest = COMMANDS[words[1]], words[2:]
        while rest and rest[0] in getattr(command, "commands", {}):
            command, rest = command.commands[rest[0]], rest[1:]
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= options, call


def test_every_make_target_of_the_readme_exists():
    makefile = (README.parent / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z-]+)`", TEXT):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_no_file_names_a_package_registry():
    hosts = re.compile("|".join(("pypi" + r"\.org", "pythonhosted" + r"\.org", "npmjs" + r"\.org")))
    for name in ("constraints.txt", "pyproject.toml", "Makefile", "Dockerfile", "README.md"):
        assert not hosts.search((README.parent / name).read_text()), name


def test_no_image_of_the_indiana_collection_is_in_the_repository():
    root = Path(cxr.__file__).parents[1]
    assert not [
        p for package in ("retrieval", "ingest", "tests", "benchmarks") for p in (root / package).rglob("*_IM-*")
    ]


def test_packaged_manifests_name_no_path_of_the_machine_that_made_them():
    for manifest in (Path(cxr.__file__).parents[1] / "retrieval" / "bundles").glob("*/manifest.json"):
        assert not json.loads(manifest.read_text())["source"].startswith("/"), manifest
