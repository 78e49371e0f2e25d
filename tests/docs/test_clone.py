"""A clone in an empty folder: README's two commands, `make demo` whole and `make test` for one file.

The test command is limited to one file by `PYTEST_ADDOPTS`: run whole, it would run for as long again as the suite that this
test belongs to.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.docs.guide_runner import service_port
from tests.docs.markdown import README, ROOT, blocks_of

PAGE = "http://127.0.0.1:8000/"
ONE_FILE = "tests/docs/test_links.py"


def environment(folder: Path) -> dict[str, str]:
    """No variables of this run, a home of its own, and the interpreter of this run as `python3`; the package cache is shared."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("CXR_", "PYTEST_", "VIRTUAL_ENV"))
    }
    cache = os.environ.get("UV_CACHE_DIR") or str(Path.home() / ".cache" / "uv")
    path = f"{Path(sys.base_prefix) / 'bin'}{os.pathsep}{os.environ['PATH']}"
    home = {"HOME": str(folder / "home"), "CXR_HOME": str(folder / "cxr")}
    return kept | home | {"PATH": path, "UV_CACHE_DIR": cache}


def wait_for_page(process: subprocess.Popen[bytes], printed: Path, limit_s: float) -> str:
    deadline = time.monotonic() + limit_s
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(PAGE, timeout=5) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, OSError):
            time.sleep(1)
    raise AssertionError(f"no page (exit code {process.poll()}):\n{printed.read_text(errors='replace')[-4000:]}")


@pytest.mark.real
@pytest.mark.timeout(2400)
def test_the_two_commands_of_the_readme_run_in_a_clone(tmp_path: Path) -> None:
    demo, test = [block.text.strip() for block in blocks_of(README) if block.language == "bash"][:2]
    assert (demo, test) == ("make demo", "make test")
    (tmp_path / "home").mkdir()
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(clone)], check=True)
    own = environment(tmp_path)
    with service_port(True), (tmp_path / "demo.txt").open("wb") as output:
        process = subprocess.Popen(
            ["bash", "-c", demo], cwd=clone, env=own, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            page = wait_for_page(process, tmp_path / "demo.txt", limit_s=1500)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=60)
    assert "<form" in page
    printed = (tmp_path / "demo.txt").read_text(errors="replace")
    assert "phantom-siglip · cxr_phantom-siglip" in printed
    limited = own | {"PYTEST_ADDOPTS": ONE_FILE}
    ran = subprocess.run(["bash", "-c", test], cwd=clone, env=limited, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-4000:]
    assert "passed" in ran.stdout
