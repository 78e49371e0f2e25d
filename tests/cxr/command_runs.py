"""Run commands: `run` in a process of its own, forked from one that has loaded the program; `invoke` in this process."""

from __future__ import annotations

import atexit
import functools
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from typer.testing import CliRunner

import cxr.main
from retrieval.index.edge.index import EdgeIndex
from retrieval.index.schema import CollectionMeta
from tests.recovery.kill_driver import Driver

# What the commands load that the driver does not load for every test.
_MODULES = ("cxr.search", "cxr.evaluate", "cxr.compare", "cxr.tune", "matplotlib.figure")


@functools.cache
def _driver() -> Driver:
    driver = Driver(Path(os.devnull), slow_ms=0, modules=_MODULES)
    atexit.register(driver.close)
    return driver


def run(*arguments, home: Path, code: int = 0):
    """The JSON document of a command with `--json`, else its finished process; it must exit with `code`."""
    words = [str(word) for word in arguments]
    environment = {name: None for name in os.environ if name.startswith("CXR_")} | {"CXR_HOME": str(home)}
    with tempfile.TemporaryDirectory() as folder:
        output, errors = Path(folder) / "output", Path(folder) / "errors"
        ended = _driver().run(words, environment, output=output, errors=errors)
        done = subprocess.CompletedProcess(words, ended, output.read_text(), errors.read_text())
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if "--json" in arguments else done


def invoke(*words: Any, answer: str | None = None) -> Any:
    """The result of a command, with `answer` on stdin; raises its error, which `cxr.main.main` would print."""
    result = CliRunner().invoke(cxr.main.app, [str(word) for word in words], input=answer, env={"COLUMNS": "120"})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert (result.exit_code == 0) == (not isinstance(result.exception, SystemExit))
    return result


def document(*words: Any) -> Any:
    """The JSON document of a command."""
    return json.loads(invoke(*words, "--json").stdout)


def read_metas(folder: Path) -> dict[str, CollectionMeta]:
    """The records of all collections of an embedded index."""
    return EdgeIndex(folder).collections()


def change_meta(home: Path, model: str, **values: Any) -> None:
    """Change the record of a collection."""
    index = EdgeIndex(home / "index")
    collection = index.open(f"cxr_{model}")
    collection.record(msgspec.structs.replace(collection.meta, **values))
    index.close()


def read_active(home: Path) -> str | None:
    """The active collection."""
    return EdgeIndex(home / "index").active()
