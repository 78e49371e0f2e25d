import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archives.views import read_view, view_of_header, view_of_name

# Words that public archives and hospitals use; case and separators are varied below.
FRONTAL = [
    ("PA",),
    ("AP",),
    ("frontal",),
    ("P", "A"),
    ("A", "P"),
    ("postero", "anterior"),
    ("antero", "posterior"),
    ("posterior", "anterior"),
    ("POSTEROANTERIOR",),
    ("ANTEROPOSTERIOR",),
    ("AP", "horizontal"),
    ("PA", "erect"),
    ("AP", "portable"),
    ("chest", "frontal"),
    ("posteroanteriore",),
    ("antéro", "postérieur"),
    ("postéro", "antérieure"),
    ("dorso", "ventral"),
    ("Frontalaufnahme",),
    ("AP", "decúbito", "supino"),
]
LATERAL = [
    ("L",),
    ("LL",),
    ("RL",),
    ("lat",),
    ("lateral",),
    ("left", "lateral"),
    ("right", "lat"),
    ("L", "LAT"),
    ("leftlateral",),
    ("latero", "lateral"),
    ("laterale",),
    ("seitlich",),
    ("xtable", "lateral"),
    ("proyección", "lateral"),
    ("perfil",),
    ("profil",),
]
OTHER = [
    ("COSTAL",),
    ("decubitus",),
    ("left", "lateral", "decubitus"),
    ("lateral", "decub"),
    ("decubitus", "lateral", "left"),
    ("AP", "left", "lateral", "decubitus"),
    ("AP", "LLD"),
    ("RLD",),
    ("L", "L", "D"),
    ("decúbito", "lateral", "izquierdo"),
    ("Linksseitenlage",),
    ("LATERAL", "OBLIQUE"),
    ("PA", "OBLIQUE"),
    ("left", "anterior", "oblique"),
    ("oblicua",),
    ("Schrägaufnahme",),
    ("LAO",),
    ("rpo",),
    ("LLO",),
    ("PA", "and", "lateral"),
    ("chest", "2", "views"),
    ("portable", "chest"),
    ("bilateral",),
    ("thorax", "L"),
    ("patient",),
    ("lordotic",),
]


def written(words: tuple[str, ...], separator: str, seed: int) -> str:
    letters = random.Random(seed)
    return separator.join("".join(letters.choice((c.upper(), c.lower())) for c in word) for word in words)


SPELLING = {
    "separator": st.sampled_from([" ", "_", "-", ".", "/", " - ", "  ", ". "]),
    "seed": st.integers(0, 10_000),
    "around": st.sampled_from(["", " ", ".", "\t", "_", "-"]),
}


@given(words=st.sampled_from(FRONTAL), **SPELLING)
def test_frontal_words_are_known_in_any_case_and_with_any_separator(words, separator, seed, around):
    text = around + written(words, separator, seed) + around
    assert read_view(text) == view_of_header(text, (), ()) == view_of_header("", (), [text]) == "frontal"


@given(words=st.sampled_from(LATERAL), **SPELLING)
def test_lateral_words_are_known_in_any_case_and_with_any_separator(words, separator, seed, around):
    text = around + written(words, separator, seed) + around
    assert read_view(text) == view_of_header(text, (), ()) == view_of_header("", (), [text]) == "lateral"


@given(words=st.sampled_from(OTHER), **SPELLING)
def test_oblique_decubitus_and_whatever_names_no_single_view_are_unknown(words, separator, seed, around):
    text = around + written(words, separator, seed) + around
    assert read_view(text) == view_of_header(text, (), ()) == view_of_header("", (), [text]) == "unknown"


@given(st.text(max_size=40))
def test_tables_and_headers_agree_on_any_text(text):
    assert read_view(text) == view_of_header(text, (), ()) == view_of_header("", [("", text)], ())


@pytest.mark.parametrize(("words", "view"), [("POSTEROANTERIOR", "frontal"), ("", "unknown"), ("AP/PA", "frontal")])
def test_words_without_a_separator(words, view):
    assert read_view(words) == view


def test_view_position_goes_before_code_and_code_before_words():
    assert view_of_header("PA", [("399173006", "left lateral")], ["lateral"]) == "frontal"
    assert view_of_header("", [("399173006", "")], ["PA"]) == "lateral"
    assert view_of_header("", [("0", "postero-anterior")], ["lateral"]) == "frontal"
    assert view_of_header("", [], ["PA and lateral", "THORAX LAT"]) == "lateral"
    assert view_of_header("", [], []) == "unknown"


@pytest.mark.parametrize(
    ("position", "descriptions", "view"),
    [
        ("AP", ["Chest left lateral decubitus"], "unknown"),
        ("LLD", ["Chest lateral"], "unknown"),
        ("RAO", ["Chest PA"], "unknown"),
        ("PA", ["Thorax oblicua"], "unknown"),
        ("PA", ["Chest PA, lateral and both obliques"], "frontal"),  # the words name a whole examination
        ("LATERAL", ["Chest 2 views"], "lateral"),
    ],
)
def test_an_oblique_or_decubitus_image_is_so_wherever_the_header_says_it(position, descriptions, view):
    assert view_of_header(position, [], descriptions) == view


@pytest.mark.parametrize(
    ("name", "view"),
    [
        ("1_Frontal.png", "frontal"),
        ("p1/view2-lateral.jpg", "lateral"),
        ("PA/1.png", "frontal"),
        ("lat/1.png", "lateral"),
        ("lateral/1_frontal.png", "frontal"),
        ("lateral/pa_lat.png", "unknown"),
        ("lateral/p1/1.png", "unknown"),
        ("pa001.png", "unknown"),
        ("LL/rl.png", "unknown"),
        ("L/1.png", "unknown"),
        ("chest.ap.png", "frontal"),
        ("postero-anterior/1.png", "frontal"),
        ("lateral/1_decubitus.png", "unknown"),
        ("lateral/left_oblique.png", "unknown"),
        ("user_profile.png", "unknown"),
        ("1.png", "unknown"),
    ],
)
def test_a_file_has_the_view_its_name_says_or_else_its_folder(name, view):
    assert view_of_name(name) == view
