"""Wrapped lines, answers to headings, short forms, and the scopes of negations in queries."""

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
        ("Pneumothorax: no\nEffusion: no\nCardiomegaly", absent(PTX, PE) | present(CM)),
        ("Effusion:\nNone\nCardiomegaly", absent(PE) | present(CM)),
    ],
)  # fmt: skip
def test_a_line_break_ends_a_statement_unless_the_line_is_wrapped(text, expected):
    assert statuses(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Pleural effusion: None. Pneumothorax: No. Cardiomegaly: negative.", absent(PE, PTX, CM)),
        ("Effusion: neg. Pneumothorax (-). Cardiomegaly -ve.", absent(PE, PTX, CM)),
        ("Effusion on the left: none seen, pneumothorax: no and cardiomegaly", absent(PE, PTX) | present(CM)),
        ("Cardiomegaly: moderate, effusion: none, pneumothorax: no", present(CM) | absent(PE, PTX)),
        ("Cardiomegaly (+), effusion (-), pneumothorax (-)", present(CM) | absent(PE, PTX)),
        ("Effusion, pneumothorax: none", absent(PE, PTX)),
        ("pneumothorax -ve effusion -ve", absent(PTX, PE)),
        ("pneumothorax negative", absent(PTX)),
        ("cardiomegaly, pneumothorax negative", present(CM) | absent(PTX)),
        ("Pleural effusion: No Pneumothorax: None Cardiomegaly: Yes", absent(PE, PTX) | present(CM)),
        ("Findings: no pleural effusion: unchanged", absent(PE)),
        ("neg for effusion", absent(PE)),
        ("neg. for effusion", absent(PE)),
        ("-ve for effusion", absent(PE)),
        # no answer, or an answer to something else
        ("Pneumothorax: No change.", present(PTX)),
        ("Effusion: no significant interval change", present(PE)),
        ("Small effusion. Comparison: None.", present(PE)),
        ("FINDINGS: small effusion COMPARISON: None.", present(PE)),
        ("Effusion, CT negative", present(PE)),
        ("Negative chest with effusion", present(PE)),
    ],
)  # fmt: skip
def test_negative_answers_negate_the_finding_before_them(text, expected):
    assert statuses(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Lungs show scars except for a small left effusion", present("Cicatrix", PE)),
        ("All lobes are clear except for a small effusion", present(PE)),
        ("Opacity with or without effusion", present("Opacity") | {PE: "uncertain"}),
        ("Opacity instead of effusion", present("Opacity") | {PE: "uncertain"}),
        ("There is no doubt of an effusion", present(PE)),
        ("No pneumothorax, only small effusion", absent(PTX) | present(PE)),
        ("No nodule of 5–6 mm or effusion", absent("Nodule", PE)),
        ("The study failed to show effusion", absent(PE)),
        ("No pneumothorax & effusion", absent(PTX, PE)),
    ],
)  # fmt: skip
def test_terminations_and_exceptions_in_reports(text, expected):
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


@pytest.mark.parametrize(
    ("text", "asked", "denied"),
    [
        # no negation
        ("cardiomegaly with or without pleural effusion", {CM}, set()),
        ("cardiomegaly w/ or w/o effusion", {CM}, set()),
        ("cardiomegaly +/- effusion", {CM}, set()),
        ("no doubt cardiomegaly", {CM}, set()),
        ("no effusion, no doubt cardiomegaly", {CM}, {PE}),
        ("without a doubt pneumothorax", {PTX}, set()),
        ("not without effusion", {PE}, set()),
        ("all normal except cardiomegaly", {CM}, set()),
        ("no findings except effusion", {PE}, set()),
        ("nothing but effusion", {PE}, set()),
        # the end of a scope
        ("no effusion + cardiomegaly", {CM}, {PE}),
        ("no effusion plus cardiomegaly", {CM}, {PE}),
        ("no effusion only cardiomegaly", {CM}, {PE}),
        ("no effusion, just cardiomegaly", {CM}, {PE}),
        ("no effusion instead cardiomegaly", {CM}, {PE}),
        ("no effusion – cardiomegaly", {CM}, {PE}),
        ("no effusion - cardiomegaly", {CM}, {PE}),
        ("no effusion & pneumothorax", set(), {PE, PTX}),
        ("no effusion and pneumothorax", set(), {PE, PTX}),
        # negations
        ("all cases except pneumothorax", set(), {PTX}),
        ("all cases with effusion except pneumothorax", {PE}, {PTX}),
        ("all patients except those with pneumothorax", set(), {PTX}),
        ("all but pneumothorax", set(), {PTX}),
        ("anything but effusion", set(), {PE}),
        ("everything but effusion", set(), {PE}),
        ("consolidation instead of effusion", {"Consolidation"}, {PE}),
        ("consolidation rather than effusion", {"Consolidation"}, {PE}),
        ("failed to show effusion", set(), {PE}),
        ("cardiomegaly, pneumothorax negative", {CM}, {PTX}),
        ("effusion: none", set(), {PE}),
        ("effusions? none", set(), {PE}),
        ("effusion? yes", {PE}, set()),
        ("effusion positive pneumothorax negative", {PE}, {PTX}),
        ("positive effusion negative pneumothorax", {PE}, {PTX}),
        ("cardiomegaly yes effusion no", {CM}, {PE}),
        ("no: effusion, pneumothorax", set(), {PE, PTX}),
        ("cardiomegaly, no [effusion, pneumothorax]", {CM}, {PE, PTX}),
        ("+effusion -pneumothorax", {PE}, {PTX}),
        ("!pneumothorax", set(), {PTX}),
        ("right -sided effusion", {PE}, set()),
        ("opacity other than consolidation", {"Opacity"}, {"Consolidation"}),
        ("no findings other than effusion", {PE}, set()),
        ("effusion as opposed to pneumothorax", {PE}, {PTX}),
        ("exclude cases with effusion", set(), {PE}),
        ("exclude patients who have effusion", set(), {PE}),
        ("I don't want cases with effusion", set(), {PE}),
        ("cannot see any effusion", set(), {PE}),
        ("CXR to exclude pneumothorax", {PTX}, set()),
        ("? exclude pneumothorax", {PTX}, set()),
        ("effusion w/o ptx or pna", {PE}, {PTX, "Pneumonia"}),
    ],
)  # fmt: skip
def test_the_scopes_of_negations_in_queries(text, asked, denied):
    mentions = find_mentions(text)
    assert (set(mentions.asked), set(mentions.denied)) == (asked, denied)


@pytest.mark.parametrize(
    ("text", "asked", "denied"),
    [
        ("no left pleural effusion", set(), {f"{PE}/left", f"{PE}/bilateral"}),
        ("no lt. pleural effusion", set(), {f"{PE}/left", f"{PE}/bilateral"}),
        ("nodule on the rt. No bilat. effusion", {"Nodule"}, {f"{PE}/bilateral"}),
        ("effusion is not seen on the left", set(), {f"{PE}/left", f"{PE}/bilateral"}),
        ("left effusion, no right effusion", {PE}, {f"{PE}/right", f"{PE}/bilateral"}),
        ("bilateral effusion, no left effusion", {PE}, {f"{PE}/left"}),
        ("no bilateral effusion", set(), {f"{PE}/bilateral"}),
        ("no large effusion", set(), {f"{PE}/large"}),
        ("no large effusion or pneumothorax", set(), {f"{PE}/large", PTX}),
        ("small left effusion, no large left effusion", {PE}, {f"{PE}/large"}),
        ("no mild cardiomegaly", set(), {f"{CM}/mild"}),
        # of any side or severity
        ("no left or right effusion", set(), {PE}),
        ("no effusion on the left or the right", set(), {PE}),
        ("no effusion on either side", set(), {PE}),
        ("no small to moderate effusion", set(), {PE}),
        ("not even a small effusion", set(), {PE}),
        # a finding that is asked for is not denied, and a side belongs to one finding
        ("effusion, no effusion", {PE}, set()),
        ("left effusion, no left effusion", {PE}, set()),
        ("no pneumothorax, left effusion", {PE}, {PTX}),
        ("no pneumothorax with left effusion", {PE}, {PTX}),
        ("left effusion without pneumothorax", {PE}, {PTX}),
        ("no left cardiomegaly", set(), {CM}),
    ],
)  # fmt: skip
def test_a_query_can_deny_one_side_or_severity(text, asked, denied):
    mentions = find_mentions(text)
    assert (set(mentions.asked), set(mentions.denied)) == (asked, denied)


def test_a_negated_finding_of_a_report_has_no_side():
    assert [(each.side, each.severity) for each in read_assertions("No large left effusion.")] == [("", "")]


@pytest.mark.parametrize("dialect", ["report", "query"])
@pytest.mark.parametrize(
    "text",
    [
        "non-loculated effusion", "non loculated effusion", "non-malignant effusion", "no complete resolution of effusion",
        "without resolution of effusion", "failure of resolution of effusion", "no clearing of effusion",
        "not resolving effusion", "not improved effusion", "almost complete resolution of effusion",
        "no more than a small effusion", "not more than small effusion", "no less than a moderate effusion",
        "CT without contrast shows effusion", "never-smoker, effusion",
    ],
)  # fmt: skip
def test_pseudo_negations_negate_nothing(text, dialect):
    assert [(each.head, each.status) for each in read_assertions(text, dialect)] == [(PE, "present")]


def test_negations_that_look_like_pseudo_negations_negate():
    assert statuses("Complete resolution of the effusion. Non-enlarged heart.") == absent(PE, CM)
    assert statuses("Not positive for effusion. No positive evidence of pneumothorax.") == absent(PE, PTX)
    assert statuses("No pneumothorax with symptoms of pneumonia.") == absent(PTX) | present("Pneumonia")
    assert statuses("Positive for effusion, no pneumothorax.") == present(PE) | absent(PTX)


@pytest.mark.parametrize(
    ("text", "unread"),
    [
        ("no pnumothorax", ("no pnumothorax",)),
        ("cardiomegaly, no pnumothorax, no effusion", ("no pnumothorax",)),
        ("effusion, not pregnant but with nodule", ("not pregnant",)),
        ("no efusion or pneumothorax", ()),
        ("heart not enlarged, no", ()),
        ("cardiomegaly without edema", ()),
    ],
)
def test_negations_of_unknown_words_are_reported(text, unread):
    assert find_mentions(text).unread == unread
