"""Every command of README and of the guides runs as printed, in order.

One page per test, in an empty folder with an empty home. Left out are only the blocks that the page marks as needing a GPU,
another machine, the model hub or a container runtime; each of these is listed as skipped. README's two commands run in
`test_clone.py`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.docs.guide_runner import run_page
from tests.docs.markdown import GUIDES, NEEDS, README, ROOT, Block, blocks_of

LEFT_OUT = [(page, block) for page in (README, *GUIDES) for block in blocks_of(page) if block.needs]


@pytest.mark.real
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_every_command_of_a_guide_runs_as_printed(guide: Path, tmp_path: Path) -> None:
    run_page(blocks_of(guide), tmp_path, path=[Path(sys.executable).parent])


@pytest.mark.real
@pytest.mark.timeout(600)
def test_the_python_example_of_the_readme_runs(tmp_path: Path) -> None:
    blocks = [block for block in blocks_of(README) if block.language == "python"]
    demo = blocks_of(ROOT / "docs" / "guides" / "searching.md")[0]
    run_page([demo, *blocks], tmp_path, path=[Path(sys.executable).parent])


@pytest.mark.real
@pytest.mark.parametrize(
    ("page", "block"), LEFT_OUT, ids=lambda part: part.stem if isinstance(part, Path) else f"line-{part.line}"
)
def test_a_block_that_needs_what_is_not_there_is_listed_as_skipped(page: Path, block: Block) -> None:
    assert block.needs in NEEDS
    pytest.skip(f"{page.relative_to(ROOT)}, line {block.line}: needs {NEEDS[block.needs]}")


def test_every_guide_says_what_it_needs_and_what_can_go_wrong() -> None:
    for guide in GUIDES:
        text = guide.read_text(encoding="utf-8")
        assert "## What you need" in text, guide
        assert "## What can go wrong" in text, guide
