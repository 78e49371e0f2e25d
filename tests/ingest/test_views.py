import pytest

from ingest.sources.views import read_view, view_of_name


@pytest.mark.parametrize(
    ("text", "view"),
    [
        ("Frontal", "frontal"),
        ("PA", "frontal"),
        (" ap ", "frontal"),
        ("AP_horizontal", "frontal"),
        ("AP/PA", "frontal"),
        ("LATERAL", "lateral"),
        ("Lat", "lateral"),
        ("LL", "lateral"),
        ("rl", "lateral"),
        ("left lateral", "lateral"),
        ("PA and lateral", "unknown"),
        ("oblique", "unknown"),
        ("patient", "unknown"),
        ("", "unknown"),
    ],
)
def test_a_view_is_a_whole_word_in_any_case(text, view):
    assert read_view(text) == view


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
        ("chest.ap.png", "frontal"),
        ("1.png", "unknown"),
    ],
)
def test_a_file_has_the_view_its_name_says_or_else_its_folder(name, view):
    assert view_of_name(name) == view
