"""Help of every command and subcommand."""

from __future__ import annotations

import subprocess
import sys

import pytest
from syrupy.assertion import SnapshotAssertion
from typer.testing import CliRunner

import cxr.main
from docs.command_tree import walk_commands

WIDTH = 80


TREE = dict(walk_commands())
PATHS = sorted(TREE)
# A group without a callback of its own only lists its subcommands.
RUNNABLE = [path for path in PATHS if not hasattr(TREE[path], "list_commands") or TREE[path].invoke_without_command]


def help_of(*path: str) -> str:
    result = CliRunner().invoke(cxr.main.app, [*path, "--help"], prog_name="cxr", terminal_width=WIDTH)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_tree_holds_every_command() -> None:
    assert {path[0] for path in PATHS} == set(cxr.main.COMMANDS)
    assert {("ingest", "retry"), ("keys", "remove-all"), ("snapshot", "restore"), ("labels",)} <= set(PATHS)


def test_the_help_of_cxr(snapshot: SnapshotAssertion) -> None:
    assert help_of() == snapshot


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_the_help_of_every_command(path: tuple[str, ...], snapshot: SnapshotAssertion) -> None:
    assert help_of(*path) == snapshot


@pytest.mark.parametrize("name", cxr.main.COMMANDS)
def test_the_list_of_commands_and_the_help_of_a_command_begin_alike(name: str) -> None:
    (first, *_) = (TREE[(name,)].help or "").splitlines()
    assert first == cxr.main.COMMANDS[name].summary


@pytest.mark.parametrize("path", RUNNABLE, ids=" ".join)
def test_every_command_has_an_example_of_itself(path: tuple[str, ...]) -> None:
    lines = [line.strip() for line in (TREE[path].help or "").splitlines()]
    assert any(line == " ".join(("cxr", *path)) or line.startswith(" ".join(("cxr", *path, ""))) for line in lines)


@pytest.mark.parametrize("path", RUNNABLE, ids=" ".join)
def test_every_option_and_argument_is_explained(path: tuple[str, ...]) -> None:
    assert not [each.name for each in TREE[path].params if not getattr(each, "help", None) and each.name != "help"]


@pytest.mark.parametrize("path", [path for path in RUNNABLE if path != ("serve",)], ids=" ".join)
def test_every_command_that_ends_prints_json(path: tuple[str, ...]) -> None:
    assert "--json" in [name for each in TREE[path].params for name in each.opts]


def test_the_help_of_cxr_loads_nothing_heavy() -> None:
    script = (
        "import sys, cxr.main\n"
        "from typer.testing import CliRunner\n"
        "assert CliRunner().invoke(cxr.main.app, ['--help']).exit_code == 0\n"
        "heavy = ('torch', 'numpy', 'onnxruntime', 'qdrant_client', 'qdrant_edge', 'litestar', 'pandas', 'pydantic', 'rich')\n"
        "print(sorted(set(heavy) & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, timeout=60, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
