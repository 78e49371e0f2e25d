"""Wrapped lines, answers to a heading, shorthand: what stands between a finding and its denial in reports and queries."""

import pytest

from retrieval.labels import find_mentions
from retrieval.labels.assertions import read_assertions

CM, PE, PTX = "Cardiomegaly", "Pleural Effusion", "Pneumothorax"


def statuses(text):
    return {each.head: each.status for each in read_assertions(text)}


def absent(*heads):
    return dict.fromkeys(heads, "absent")


def present(*heads):
    return dict.fromkeys(heads, "present")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # one statement on several lines
        ("There is no\npneumothorax.", absent(PTX)),
        ("There is no\r\npneumothorax.", absent(PTX)),
        ("There is no \rpneumothorax.", absent(PTX)),
        ("There is no focal consolidation, pleural\neffusion, or pneumothorax.", absent("Consolidation", PE, PTX)),
        ("There is no pleural effusion or\npneumothorax. Heart size is\nnormal.", absent(PE, PTX, CM)),
        ("no large effusion\nor pneumothorax", absent(PE, PTX)),
        ("There is no large left\npneumothorax", absent(PTX)),
        ("No air-\nspace disease.", absent("Airspace Disease")),
        ("THERE IS NO LARGE FOCAL CONSOLIDATION, PNEUMOTHORAX, LARGE\nEFFUSION OR EDEMA. HEART IS ENLARGED.",
         absent("Consolidation", PTX, PE, "Pulmonary Edema") | present(CM)),
        # one statement a line
        ("Heart enlarged\nNo effusion\nPneumothorax", present(CM, PTX) | absent(PE)),
        ("NO EFFUSION\nCARDIOMEGALY", present(CM) | absent(PE)),
        ("Cardiomegaly\nno effusion\npneumothorax", present(CM, PTX) | absent(PE)),
        ("- no effusion\n- cardiomegaly", present(CM) | absent(PE)),
        ("1. No effusion or\n2. cardiomegaly", present(CM) | absent(PE)),
        ("No effusion.\nCardiomegaly.", present(CM) | absent(PE)),
        ("There is no effusion on the left\n\nor right cardiomegaly.", present(CM) | absent(PE)),
        ("There is no\n\npneumothorax.", present(PTX)),
    ],
)  # fmt: skip
def test_a_line_ends_a_statement_unless_it_is_wrapped(text, expected):
    assert statuses(text) == expected


@pytest.mark.parametrize(
    ("text", "asked", "denied"),
    [
        ("cardiomegaly, no\npleural effusion", {CM}, {PE}),
        ("no effusion\ncardiomegaly", {CM}, {PE}),
        ("no sig. effusion", set(), {PE}),
        ("no evid. of effusion", set(), {PE}),
        ("wo effusion", set(), {PE}),
        ("w / o cardiomegaly", set(), {CM}),
        ("x-ray w/o effusion w/ cardiomegaly", {CM}, {PE}),
        ("no effusion w/cardiomegaly", {CM}, {PE}),
    ],
)  # fmt: skip
def test_queries_with_wrapped_lines_and_shorthand(text, asked, denied):
    mentions = find_mentions(text)
    assert (set(mentions.asked), set(mentions.denied)) == (asked, denied)
