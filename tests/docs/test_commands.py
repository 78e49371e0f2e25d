"""Every command line in README and docs parses: the command exists, and so does each of its options."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from docs.command_tree import walk_commands
from tests.docs.markdown import NEEDS, ROOT, blocks_of, pages

PAGES = [page for page in pages() if "results" not in page.parts]
TREE = dict(walk_commands())


def command_lines(text: str) -> list[list[str]]:
    """The calls of `cxr` in a shell text, as words; redirections, pipes and comments end a call."""
    text = re.sub(r"<<'?(\w+)'?(.*?)\n.*?^\1$", r"\2", text, flags=re.MULTILINE | re.DOTALL)  # here-documents
    calls = []
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="();|&<>")
        lexer.whitespace_split, lexer.commenters = True, "#"
        call: list[str] | None = None
        for word in [*lexer, ";"]:
            if word == "cxr" and call is None:
                call = ["cxr"]
            elif re.fullmatch(r"[();|&<>]+", word):
                if call:
                    calls.append(call)
                call = None
            elif call is not None:
                call.append(word)
    return calls


def require_known(call: list[str]) -> None:
    """Refuse a call of a command or with an option that does not exist."""
    words = call[1:]
    if not words or words[0].startswith("-"):
        assert set(words) <= {"--help", "--version"}, call
        return
    path = next((tuple(words[:end]) for end in range(len(words), 0, -1) if tuple(words[:end]) in TREE), None)
    assert path is not None, f"no command {words[0]!r}: {call}"
    options = {name for parameter in TREE[path].params for name in (*parameter.opts, *parameter.secondary_opts)}
    used = {word.split("=")[0] for word in words[len(path) :] if re.match(r"--?[a-z]", word)}
    assert used <= options | {"--help"}, f"{used - options} in {call}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_a_page_exists_with_its_options(page: Path) -> None:
    for block in blocks_of(page):
        if block.language in ("bash", "sh", "console", "text"):
            for call in command_lines(block.text):
                require_known(call)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_within_a_sentence_exists(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for words in re.findall(r"`(cxr [a-z][^`]*)`", text):
        if not re.search(r"[A-Z…]{2,}.*[A-Z…]{2,}", words):  # `cxr COMMAND OPTION` is a form, not a command
            for call in command_lines(" ".join(words.split())):
                require_known(call)


def test_every_make_target_that_is_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for page in PAGES:
        for target in re.findall(r"`make ([a-z-]+)`", page.read_text(encoding="utf-8")):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), (page.name, target)


def test_every_mark_of_a_block_is_known() -> None:
    found = {block.needs for page in PAGES for block in blocks_of(page)} - {""}
    assert found <= set(NEEDS)


def test_every_file_that_a_page_names_exists() -> None:
    names = re.compile(r"`((?:cxr|service|exporters|evaluation|ingest|archives|retrieval|tests|benchmarks)/[\w./-]*)`")
    for page in PAGES:
        if page.name != "CHANGELOG.md":
            for name in names.findall(page.read_text(encoding="utf-8")):
                assert (ROOT / name).exists(), (page.name, name)
