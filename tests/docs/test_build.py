"""The documentation builds without a warning, and its pages load nothing from other hosts."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT

# What a browser fetches to show a page; links that a reader may follow are not among it.
LOADED = re.compile(r"<(?:script|img|iframe|source|video|audio)\b[^>]*\bsrc=\"(?:https?:)?//[^\"]+\"|<link\b[^>]*>")


@pytest.mark.real
@pytest.mark.timeout(300)
def test_the_documentation_builds_without_warnings_and_loads_nothing_from_other_hosts(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "-b", "html"]
    built = subprocess.run(
        [*command, str(ROOT / "docs"), str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stdout + built.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 25
    loaded = [found for page in pages for found in LOADED.findall(page.read_text(encoding="utf-8"))]
    assert not [each for each in loaded if not each.startswith("<link") or re.search(r"href=\"(?:https?:)?//", each)]
    styles = [sheet.read_text(encoding="utf-8") for sheet in tmp_path.rglob("*.css")]
    assert not [sheet for sheet in styles if re.search(r"url\(\s*['\"]?(?:https?:)?//", sheet)]
