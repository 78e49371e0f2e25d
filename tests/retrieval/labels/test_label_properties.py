"""Properties that labels from text have for any report."""

import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from retrieval.labels import find_mentions, read_report
from retrieval.labels.assertions import read_assertions
from tests.retrieval.labels.sentence_parts import FINDINGS, texts

NAMES = st.sampled_from(sorted(FINDINGS))
LISTS = st.lists(NAMES, min_size=1, max_size=4, unique=True)
NEGATIONS = ["no", "No evidence of", "without", "Negative for", "There is no", "free of", "The study shows no"]
POST_NEGATIONS = ["has resolved", "is not seen", "is no longer seen", "was not identified", "is absent", "is excluded"]
TERMINATIONS = ["but", "however", "although there is", "with", "but there is", "; there is", ". There is"]
NORMAL = [
    "The trachea is midline.",
    "Hila are normal.",
    "Osseous structures are intact for age.",
    "Lung volumes are low.",
    "Comparison is made with the prior film.",
    "The aorta is tortuous.",
    "Two views of the chest were obtained.",
]
SENTENCES = [
    *("No effusion.", "Possible pneumonia.", "The nodule has resolved.", "Mild cardiomegaly.", "Heart size is normal."),
    *(
        "Treated for pneumonia.",
        "No pneumothorax or edema.",
        "Left effusion, unchanged.",
        "Atelectasis versus consolidation.",
    ),
    *("Rib fracture cannot be excluded.", "No change in the effusion.", "Lungs are clear.", "Scoliosis."),
]


def statuses(text):
    return {each.head: each.status for each in read_assertions(text)}


def names_of(labels):
    return {status: frozenset(getattr(labels, status)) for status in ("present", "uncertain", "absent")}


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=5), st.sampled_from(NORMAL), st.integers(0, 5))
def test_an_unrelated_normal_sentence_changes_no_status(sentences, normal, place):
    named = set().union(*names_of(read_report(normal)).values())

    def of_others(parts):
        return {status: names - named for status, names in names_of(read_report(" ".join(parts))).items()}

    assert of_others([*sentences[:place], normal, *sentences[place:]]) == of_others(sentences)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(SENTENCES), min_size=2, max_size=6, unique=True), st.randoms(use_true_random=False))
def test_the_order_of_independent_sentences_does_not_matter(sentences, random):
    shuffled = random.sample(sentences, len(sentences))
    assert names_of(read_report(" ".join(shuffled))) == names_of(read_report(" ".join(sentences)))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=5), st.integers(0, 5))
def test_sections_split_at_a_sentence_give_the_same_labels(sentences, place):
    findings, impression = " ".join(sentences[:place]), " ".join(sentences[place:])
    assert names_of(read_report(findings, impression)) == names_of(read_report(" ".join(sentences)))


@settings(max_examples=200, deadline=None)
@given(texts())
def test_case_does_not_matter_on_one_line(text):
    line = text.replace("\n", " ")
    assert list(read_assertions(line.upper())) == list(read_assertions(line.lower())) == list(read_assertions(line))


@settings(max_examples=200, deadline=None)
@given(texts(), st.lists(st.sampled_from(["  ", "   ", "\t\t"]), min_size=1, max_size=3))
def test_extra_blanks_do_not_matter(text, blanks):
    words = text.replace("\n", " ").split(" ")
    wide = "".join(word + blanks[place % len(blanks)] for place, word in enumerate(words)).rstrip()
    assert list(read_assertions(wide)) == list(read_assertions(" ".join(words)))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=5), st.sampled_from(["\n", "\r\n", "\r", "\n\n"]))
def test_a_sentence_on_each_line_reads_as_on_one_line(sentences, line_break):
    assert list(read_assertions(line_break.join(sentences))) == list(read_assertions(" ".join(sentences)))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(NEGATIONS), LISTS, st.sampled_from(["or", "and"]))
def test_a_negated_list_is_never_present(negation, names, join):
    joined = (
        " or ".join(names)
        if join == "or"
        else ", ".join([*names[:-1], f"and {names[-1]}"] if len(names) > 2 else [" and ".join(names)])
    )
    text = f"{negation} {joined}."
    assert statuses(text) == dict.fromkeys((FINDINGS[name] for name in names), "absent"), text


@settings(max_examples=150, deadline=None)
@given(NAMES, st.sampled_from(POST_NEGATIONS))
def test_a_post_negation_negates_the_finding_before_it(name, negation):
    assert statuses(f"The {name.removeprefix('a ')} {negation}.") == {FINDINGS[name]: "absent"}


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["no", "without", "negative for"]), NAMES, st.sampled_from(TERMINATIONS), NAMES)
def test_a_negation_ends_at_a_termination(negation, negated, termination, affirmed):
    assume(negated != affirmed)
    found = statuses(f"{negation} {negated} {termination} {affirmed}.")
    assert found == {FINDINGS[negated]: "absent", FINDINGS[affirmed]: "present"}


@settings(max_examples=200, deadline=None)
@given(texts())
def test_no_name_has_two_statuses(text):
    labels = read_report(text)
    names = [*labels.present, *labels.uncertain, *labels.absent]
    assert len(names) == len(set(names))
    assert {name.rpartition("/")[0] for name in labels.qualified} <= set(labels.present)


@settings(max_examples=200, deadline=None)
@given(texts())
def test_a_query_never_asks_for_and_denies_the_same(text):
    mentions = find_mentions(text)
    assert not set(mentions.asked) & set(mentions.denied)
    assert set(mentions.uncertain) <= set(mentions.asked)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=500))
def test_any_text_is_read_without_error(text):
    read_report(text, text)
    find_mentions(text)


@pytest.mark.parametrize("part", ["no effusion, ", "possible ", "the heart ", "effusion and ", "or ", "until ", "? "])
def test_the_time_is_bounded_for_long_texts_of_one_part(part):
    begun = time.process_time()
    read_report(part * (50_000 // len(part)))
    find_mentions(part * (50_000 // len(part)))
    assert time.process_time() - begun < 30  # less than a second; quadratic work would take minutes
