"""Sphinx configuration: MyST Markdown, the theme Furo. The built pages load nothing from other hosts."""

import re
from importlib.metadata import version as installed_version
from pathlib import Path

from sphinx.application import Sphinx

project = "cxr-retrieval"
author = "The cxr-retrieval developers"
copyright = author
release = version = installed_version("cxr-retrieval")

extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4  # links to headings, as `page.md#heading`, work here and on code hosts

source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
suppress_warnings = ["misc.highlighting_failure"]

html_theme = "furo"
html_title = f"cxr-retrieval {release}"
html_show_sourcelink = False
html_show_copyright = False


_RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "README.md"


def setup(app: Sphinx) -> None:
    """Show `benchmarks/results/README.md` as the page `results`, and send links to it there."""
    app.connect("source-read", _read_results)


def _read_results(app: Sphinx, page: str, source: list[str]) -> None:
    if page == "results":
        # Links to the JSON files and logs lead out of the built pages: keep their words.
        source[0] = re.sub(r"\[([^]]*)\]\((?!#|https?:)[^)]*\)", r"\1", _RESULTS.read_text(encoding="utf-8"))
    source[0] = source[0].replace("](../../benchmarks/results/README.md", "](../results.md")
