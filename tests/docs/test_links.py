"""Links and anchors of README, docs and results lead somewhere; built pages load nothing from other hosts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, anchors_of, links_of, pages

PAGES = pages()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_and_anchor_resolves(page: Path) -> None:
    broken = []
    for link in links_of(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors_of(target)):
            broken.append(link)
    assert not broken


def test_every_page_of_the_docs_is_in_the_table_of_contents() -> None:
    docs = ROOT / "docs"
    listed = set(
        re.findall(
            r"^((?:guides|reference|explanation|development)/[\w-]+|results)$", (docs / "index.md").read_text(), re.M
        )
    )
    held = {str(page.relative_to(docs).with_suffix("")) for page in PAGES if page.is_relative_to(docs)} - {"index"}
    assert listed == held


def test_the_readme_has_at_most_130_lines() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130


def test_no_page_names_a_package_registry() -> None:
    hosts = re.compile("|".join(("pypi" + r"\.org", "pythonhosted" + r"\.org", "npmjs" + r"\.org")))
    names = ("constraints.txt", "pyproject.toml", "Makefile", "Dockerfile", ".pre-commit-config.yaml")
    files = [*PAGES, *(ROOT / name for name in names), *(ROOT / ".github").rglob("*.y*ml")]
    assert not [file for file in files if hosts.search(file.read_text(encoding="utf-8"))]


def test_no_figure_of_the_docs_is_loaded_from_another_host() -> None:
    assert not [
        (page.name, link)
        for page in PAGES
        if (page.parent != ROOT / "benchmarks")
        for link in re.findall(r"!\[[^\]]*\]\((https?://[^)]*)\)", page.read_text(encoding="utf-8"))
    ]
