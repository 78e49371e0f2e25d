"""Telemetry is switched off before the libraries that have it are imported."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from retrieval.no_telemetry import OPT_OUTS
from tests.architecture.test_containers import ROOT, instructions

PACKAGES = ("retrieval", "archives", "ingest", "evaluation", "exporters", "service", "cxr", "benchmarks", "tests")
FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def imports(path: Path) -> list[str]:
    """The modules that a file imports, in order, `a.b` for `from a import b`."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return [name for _, name in sorted(found) if not name.startswith("__future__")]


def uses_onnxruntime(path: Path) -> bool:
    return any(name.split(".")[0] == "onnxruntime" for name in imports(path))


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_imports_retrieval_before_any_library(package):
    names = imports(ROOT / package / "__init__.py")
    first = next(name for name in names if name.split(".")[0] not in sys.stdlib_module_names)
    assert first == ("retrieval.no_telemetry" if package == "retrieval" else "retrieval")


def test_no_library_is_imported_before_telemetry_is_switched_off():
    names = [*imports(ROOT / "retrieval/no_telemetry.py"), *imports(ROOT / "retrieval/errors.py")]
    other = [name for name in names if name.split(".")[0] not in sys.stdlib_module_names]
    assert other == ["retrieval.errors.TelemetryActive"]


def test_only_one_file_of_the_program_imports_onnxruntime():
    product = [path for path in FILES if path.relative_to(ROOT).parts[0] not in ("tests", "benchmarks")]
    users = {path.relative_to(ROOT).as_posix() for path in product if uses_onnxruntime(path)}
    assert users == {"retrieval/model/session.py", "exporters/precision.py"}
    # It uses tools, not sessions, and `exporters/__init__.py` is imported before it.
    tools = [name for name in imports(ROOT / "exporters/precision.py") if name.startswith("onnxruntime")]
    assert tools
    assert all(name.startswith(("onnxruntime.quantization", "onnxruntime.transformers")) for name in tools)


def test_no_file_outside_the_packages_imports_onnxruntime():
    ignored = (".venv", "build", "dist")
    files = [path for path in ROOT.rglob("*.py") if not set(path.relative_to(ROOT).parts) & set(ignored)]
    outside = [path for path in files if path.relative_to(ROOT).parts[0] not in PACKAGES and uses_onnxruntime(path)]
    assert not outside


SESSION = (
    "from pathlib import Path\n"
    "from retrieval.model.session import OrtSession\n"
    "OrtSession(next(Path('retrieval/bundles').glob('*/image.onnx')), device='cpu')\n"
)


def run(script: str, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in OPT_OUTS}
    environment = kept | {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")} | variables
    return subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120
    )


def child_variables(entry: str, home: Path, **variables: str) -> str:
    """What a process started after `entry` finds in its environment."""
    child = "import os; print(os.environ['ORT_DISABLE_TELEMETRY'], os.environ['HF_HUB_DISABLE_TELEMETRY'])"
    script = f"{entry}\nimport subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}], check=True)\n"
    done = run(script, home, **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    "entry",
    [
        "from retrieval import Retriever",
        "import cxr.main",
        "import service.app",
        "import ingest.worker",
        "import exporters.precision",
        "import benchmarks.encode",
        "import tests.conftest",
    ],
)
def test_every_entry_point_switches_telemetry_off_also_for_child_processes(entry, tmp_path):
    assert child_variables(entry, tmp_path, ORT_DISABLE_TELEMETRY="0") == "1 1"


@pytest.mark.parametrize("given", [{}, {"ORT_DISABLE_TELEMETRY": "0"}, {"ORT_DISABLE_TELEMETRY": ""}])
def test_telemetry_is_switched_off_whatever_the_environment_says(given, tmp_path):
    assert child_variables("import retrieval", tmp_path, **given) == "1 1"


def test_a_session_writes_no_device_id(tmp_path):
    done = run(SESSION, tmp_path)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob("*"))


def test_importing_onnxruntime_before_retrieval_is_an_error_with_a_remedy(tmp_path):
    done = run("import onnxruntime\n" + SESSION, tmp_path)
    assert "TelemetryActive" in done.stderr
    assert "ORT_DISABLE_TELEMETRY=1" in done.stderr
    assert run("import onnxruntime\n" + SESSION, tmp_path, ORT_DISABLE_TELEMETRY="1").returncode == 0


def test_containers_switch_telemetry_off_for_all_their_processes():
    (line,) = [line for line in instructions("ENV") if "CXR_HOME" in line]
    assert {"ORT_DISABLE_TELEMETRY=1", "DO_NOT_TRACK=1"} <= set(line.split())
