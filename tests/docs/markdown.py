"""The Markdown of the project: its pages, their links, and the blocks of commands in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))

NEEDS = {
    "gpu": "a GPU",
    "machine": "another machine, or a server on one",
    "hub": "the model hub, or data of your own",
    "containers": "a container runtime",
}
"""What a block may need that a test does not have, as the comment before it says."""

_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARK = re.compile(r"<!-- (needs|exit|background)(?:: ([\w, ]+))? -->\s*\Z")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, its text, the line it starts at, and the marks in the comment before it."""

    language: str
    text: str
    line: int
    needs: str = ""
    exit_code: int = 0
    is_background: bool = False


def pages() -> list[Path]:
    """Every Markdown page that the project keeps for readers."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks" / "results").rglob("*.md")]
    return sorted(page for page in found if "_build" not in page.parts)


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for fence in _FENCE.finditer(text):
        mark = _MARK.search(text[: fence.start()])
        kind, value = (mark[1], mark[2] or "") if mark else ("", "")
        found.append(
            Block(
                language=fence[1],
                text=fence[2],
                line=text[: fence.start()].count("\n") + 1,
                needs=value if kind == "needs" else "",
                exit_code=int(value) if kind == "exit" else 0,
                is_background=kind == "background",
            )
        )
    return found


def links_of(page: Path) -> Iterator[str]:
    """The targets of links and images of a page, those in code aside."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    text = re.sub(r"`[^`\n]*`", "", text)
    yield from (found[1] for found in _LINK.finditer(text))


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts and MyST make them."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    found: set[str] = set()
    for heading in _HEADING.findall(text):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        anchor = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        number, unique = 0, anchor
        while unique in found:
            number += 1
            unique = f"{anchor}-{number}"
        found.add(unique)
    return found
