"""The generated reference is current."""

from __future__ import annotations

import pytest

from docs.generate import FOLDER, PAGES


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_the_reference_is_what_the_code_says(name: str) -> None:
    written = (FOLDER / name).read_text(encoding="utf-8")
    assert written == PAGES[name](), "run: python -m docs.generate"


def test_the_folder_holds_no_other_page() -> None:
    assert {page.name for page in FOLDER.glob("*.md")} == set(PAGES)
