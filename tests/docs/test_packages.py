"""The wheel works alone, the sdist builds, and every extra resolves."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
import tomllib
import urllib.request
import zipfile
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT
from tests.docs.test_repository import PACKAGES

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
UV = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"


def run(*words: str | Path, folder: Path, **variables: str) -> str:
    """The standard output of a command, which must succeed."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("CXR_", "PYTEST_", "VIRTUAL_ENV"))}
    ran = subprocess.run(
        [str(word) for word in words], cwd=folder, env=own | variables, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, f"{words}\n{ran.stdout[-3000:]}\n{ran.stderr[-3000:]}"
    return ran.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist, the wheel built from the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    run(UV, "build", "--quiet", "--out-dir", folder, ROOT, folder=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


@pytest.mark.real
@pytest.mark.timeout(900)
def test_wheel_and_sdist_hold_packages_types_licence_and_demo_models(built: Path, wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)
    assert {Path(name).name for name in names if "/licenses/" in name} == {"LICENSE", "NOTICE"}
    assert "retrieval/bundles/phantom-clip/image.onnx" in names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/", "docs/"))]
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "NOTICE", "cxr/main.py"} <= held


@pytest.mark.real
@pytest.mark.timeout(1800)
def test_the_wheel_installed_alone_runs_the_demo_with_its_page(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    run(UV, "venv", "--quiet", "--python", sys.executable, environment, folder=tmp_path)
    constraints = ROOT / "constraints.txt"
    install = (UV, "pip", "install", "--quiet", "--python", environment, f"{wheel}[cpu]", "--constraints", constraints)
    run(*install, folder=tmp_path)
    cxr = environment / "bin" / "cxr"
    own = {"CXR_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)}
    assert run(cxr, "--version", folder=tmp_path, **own).strip() == PROJECT["version"]
    run(cxr, "demo", "--no-serve", "--studies", "20", folder=tmp_path, **own)
    said = tmp_path / "serve.txt"
    with said.open("wb") as output:
        service = subprocess.Popen(
            [cxr, "serve", "--port", "0"], cwd=tmp_path, env=os.environ | own, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + 120
        while not (found := re.search(r"http://127\.0\.0\.1:\d+", said.read_text(errors="replace"))):
            assert service.poll() is None, said.read_text()
            assert time.monotonic() < deadline, said.read_text()
            time.sleep(0.2)
        time.sleep(1)
        with urllib.request.urlopen(f"{found[0]}/?text=pneumothorax", timeout=60) as answer:
            page = answer.read().decode()
        with urllib.request.urlopen(f"{found[0]}/static/page.css", timeout=60) as answer:
            assert answer.status == 200
    finally:
        service.terminate()
        service.wait(timeout=30)
    assert "P0-0" in page


@pytest.mark.real
@pytest.mark.timeout(900)
@pytest.mark.parametrize("extra", sorted(PROJECT["optional-dependencies"]))
def test_every_extra_resolves(wheel: Path, extra: str, tmp_path: Path) -> None:
    wanted = tmp_path / "wanted.txt"
    wanted.write_text(f"cxr-retrieval[{extra}] @ {wheel.as_uri()}\n")
    resolved = run(UV, "pip", "compile", "--quiet", "--no-header", wanted, folder=tmp_path)
    for requirement in PROJECT["optional-dependencies"][extra]:
        name = re.match(r"[\w.-]+", requirement)
        assert name
        assert re.search(rf"^{name[0].lower().replace('_', '-')}==", resolved.lower(), re.MULTILINE), name[0]
