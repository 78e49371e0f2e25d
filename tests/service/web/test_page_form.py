"""The page's form: read from an address, and written back into one."""

from __future__ import annotations

from typing import get_args
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import InvalidRequest
from retrieval.labels.laterality import SIDES
from retrieval.records import View
from retrieval.search.query import LIMIT_EXAMPLES, LIMIT_K, LIMIT_TEXT
from retrieval.search.rerank import Collapse, Match, Preset
from service.web.feedback_links import parse_feedback
from service.web.page_form import K_DEFAULT, PageForm, read_page_form

WORDS = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20)
LISTS = st.lists(WORDS, unique=True, max_size=4).map(tuple)
FORMS = st.builds(
    PageForm,
    text=WORDS | st.just(""),
    study=WORDS | st.just(""),
    like=LISTS,
    unlike=LISTS,
    present=LISTS,
    absent=LISTS,
    view=st.sampled_from(get_args(View)) | st.none(),
    side=st.sampled_from(SIDES) | st.none(),
    severity=WORDS | st.none(),
    dataset=WORDS | st.none(),
    model=WORDS | st.none(),
    k=st.integers(1, LIMIT_K),
    rerank=st.sampled_from(get_args(Preset)),
    match=st.sampled_from(get_args(Match)),
    collapse=st.sampled_from(get_args(Collapse)),
    literal=st.sampled_from(["", "yes"]),
    errors=st.just(()),
)


@given(FORMS)
def test_a_form_is_read_back_from_its_own_address(form: PageForm) -> None:
    assert read_page_form(parse_qsl(urlsplit(form.link()).query)) == form


def test_empty_repeated_and_unknown_fields_are_harmless() -> None:
    fields = [
        ("text", " "),
        ("k", ""),
        ("other", "x"),
        ("view", "lateral"),
        ("view", "frontal"),
        ("with", "a"),
        ("with", "a"),
    ]
    assert read_page_form(fields) == PageForm(view="frontal", present=("a",))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("k", "0", "k: Expected `int` >= 1"),
        ("k", "101", "k: Expected `int` <= 100"),
        ("k", "²", "k: Expected `int`"),
        ("k", "5.5", "k: Expected `int`"),
        ("view", "oblique", "expected frontal, lateral, unknown"),
        ("match", "exact", "expected dense, bm25, hybrid"),
        ("rerank", "best", "expected signals, visual, report, none"),
        ("side", "middle", "side: Invalid enum value 'middle'"),
        ("text", "x" * (LIMIT_TEXT + 1), "text: at most 2,000 characters"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_and_the_rest_is_kept(name: str, value: str, message: str) -> None:
    form = read_page_form([("study", "42"), (name, value)])
    assert (form.study, form.k, form.view) == ("42", K_DEFAULT, None)
    (error,) = form.errors
    assert message in error
    with pytest.raises(InvalidRequest):
        form.require_valid()


def test_of_too_many_rated_studies_the_first_are_kept() -> None:
    form = read_page_form([("like", str(number)) for number in range(LIMIT_EXAMPLES + 1)])
    assert form.like == tuple(map(str, range(LIMIT_EXAMPLES)))
    assert form.errors == ("like: at most 20 studies; remove one",)


def test_rating_a_study_again_replaces_its_rating() -> None:
    form = PageForm(text="x", like=("1",), unlike=("2",))
    assert form.link_rated("2", relevant=True) == "/?text=x&like=1&like=2"
    assert form.link_rated("1", relevant=False) == "/?text=x&unlike=2&unlike=1"
    assert form.link_unrated("1") == "/?text=x&unlike=2"


def test_fields_of_feedback_are_no_fields_of_the_form() -> None:
    address = {"said": "click", "said_of": "a", "said_study": "b", "said_image": "c", "said_dataset": "d"}
    assert parse_feedback(address)
    assert read_page_form(address.items()) == PageForm()
