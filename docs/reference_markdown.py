"""Markdown of the generated reference: cells, anchors and lists."""

from __future__ import annotations

import re
from typing import Any

NOTICE = "<!-- Made by `python -m docs.generate`. Do not edit. -->\n\n"


def anchor(heading: str) -> str:
    """The anchor of a heading, as code hosts and MyST make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def cell(text: str) -> str:
    """Text that fits into a cell of a Markdown table."""
    return escape(" ".join(text.split())).replace("|", "\\|")


def escape(text: str) -> str:
    """Text in which placeholders such as <CXR_HOME> are not taken for HTML."""
    return re.sub(r"`[^`]*`|<(?=\w)", lambda found: "\\<" if found[0] == "<" else found[0], text)


def code_list(names: Any) -> str:
    """Names in code type, separated by commas."""
    return ", ".join(f"`{name}`" for name in names)
