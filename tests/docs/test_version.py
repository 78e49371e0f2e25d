"""The version stands in pyproject.toml alone."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version

from tests.docs.markdown import ROOT
from tests.docs.test_repository import PACKAGES


def test_no_other_file_repeats_the_version() -> None:
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert version("cxr-retrieval") == stated
    quoted = re.compile(rf"[\"']{re.escape(stated)}[\"']")
    files = [
        *(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")),
        ROOT / "CITATION.cff",
        ROOT / "Dockerfile",
    ]
    assert not [path for path in files if quoted.search(path.read_text(encoding="utf-8"))]


def test_the_changelog_knows_the_version() -> None:
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    text = (ROOT / "CHANGELOG.md").read_text()
    assert f"## [{stated}]" in text
    assert "## [Unreleased]" in text
