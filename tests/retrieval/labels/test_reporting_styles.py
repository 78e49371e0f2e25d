"""Negation, resolution and exclusion in other reporting styles, in reports and in queries."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.label_scoring import heads_of
from retrieval.labels import find_mentions

CM, PE, PTX, PNA, EDM, OP = (
    "Cardiomegaly",
    "Pleural Effusion",
    "Pneumothorax",
    "Pneumonia",
    "Pulmonary Edema",
    "Opacity",
)
TUBE, CATH, HF = "Tube, Inserted", "Catheters, Indwelling", "Heart Failure"


def statuses(text):
    return {head: status for status, heads in heads_of(text).items() for head in heads}


WORDS = {"pneumothorax": PTX, "pleural effusion": PE, "pneumonia": PNA, "pulmonary edema": EDM, "a fracture": "Fractures, Bone",
         "any consolidation": "Consolidation", "acute infiltrate": "Infiltrate", "a focal opacity": OP}  # fmt: skip
FINDINGS = st.lists(st.sampled_from(sorted(WORDS)), min_size=1, max_size=4, unique=True)
SUBJECTS = [
    "Exam",
    "The exam",
    "Chest",
    "Study",
    "Radiograph",
    "The chest x-ray",
    "This CXR",
    "The study of today",
    "PA view",
]
PLURALS = ["Lungs", "Both lungs", "Radiographs", "The films", "PA and lateral views"]
SINGULAR_VERBS = [
    "is",
    "was",
    "remains",
    "appears",
    "is otherwise",
    "is grossly",
    "is once again",
    "has been",
    "is now",
    "",
]
PLURAL_VERBS = ["are", "were", "remain", "appear", "are grossly", "are again", "have been"]
LISTS = st.sampled_from(["or", "and", ", or", ", and", "comma"])


def listed(names, joint):
    if len(names) == 1:
        return names[0]
    if joint == "comma":
        return ", ".join(names)
    joint = joint if len(names) > 2 else joint.strip(", ")  # in "no effusion, and a nodule" the nodule may be there
    return ", ".join(names[:-1]) + ("" if joint.startswith(",") else " ") + f"{joint} {names[-1]}"


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.tuples(st.sampled_from(SUBJECTS), st.sampled_from(SINGULAR_VERBS)),
        st.tuples(st.sampled_from(PLURALS), st.sampled_from(PLURAL_VERBS)),
    ),
    st.sampled_from(["negative for", "neg for", "-ve for", "Negative for", "negative with respect to"]),
    FINDINGS,
    LISTS,
    st.booleans(),
)
def test_negative_for_negates_the_findings_that_follow(subject, trigger, names, joint, in_capitals):
    text = f"{' '.join(subject)} {trigger} {listed(names, joint)}."
    text = text.upper() if in_capitals else text
    assert statuses(text) == dict.fromkeys((WORDS[name] for name in names), "absent"), text
    if joint != "comma":  # in a query, a list without "or" would be a guess
        mentions = find_mentions(text)
        assert (set(mentions.denied), mentions.asked) == ({WORDS[name] for name in names}, ()), text


@settings(max_examples=100, deadline=None)
@given(FINDINGS, st.sampled_from(["is", "was", "are", "were", "remains"]), st.sampled_from(["and", "or"]))
def test_is_negative_negates_the_findings_before_it(names, verb, joint):
    text = f"{listed(names, joint)} {verb} negative"
    assert statuses(text) == dict.fromkeys((WORDS[name] for name in names), "absent"), text
    assert set(find_mentions(text).denied) == {WORDS[name] for name in names}, text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Exam is negative for effusion but shows pneumonia.", {PE: "absent", PNA: "present"}),
        ("Exam is positive for effusion and negative for pneumothorax.", {PE: "present", PTX: "absent"}),
        ("The exam, which is negative for effusion, shows an opacity.", {PE: "absent", OP: "present"}),
        ("Negative exam for pneumonia and effusion.", {PNA: "absent", PE: "absent"}),
        ("Negative: pneumothorax, effusion", {PTX: "absent", PE: "absent"}),
        ("Chest is negative. Small effusion.", {PE: "present"}),
        ("Effusion is not negative.", {PE: "present"}),
    ],
)  # fmt: skip
def test_the_scope_of_negative_ends_where_it_should(text, expected):
    assert statuses(text) == expected


PARTLY = ["nearly", "almost", "almost completely", "partially", "mostly", "largely", "virtually", "not", "not yet", "not fully",
          "nearly completely", "incompletely"]  # fmt: skip
SINCE = ["", " since the prior study", " compared to prior", " after tube placement", " in the interval", " on the left",
         " following drainage", " with treatment", " from yesterday", " by now"]  # fmt: skip
GONE = [
    "has resolved",
    "has cleared",
    "resolved",
    "is resolved",
    "has completely resolved",
    "has now cleared",
    "has disappeared",
]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(WORDS)), st.sampled_from(GONE), st.sampled_from(SINCE), st.sampled_from(PARTLY))
def test_resolved_findings_are_absent_and_nearly_resolved_ones_present(name, gone, since, partly):
    tube = {TUBE: "present"} if "tube" in since else {}
    assert statuses(f"The {name} {gone}{since}.") == {WORDS[name]: "absent"} | tube
    assert statuses(f"The {name} has {partly} resolved{since}.") == {WORDS[name]: "present"} | tube


@pytest.mark.parametrize(
    ("text", "status"),
    [
        # resolved
        *((text, "absent") for text in ("Interval resolution of the effusion.", "Complete resolution of effusion.", "Effusion gone.",
            "Resolved effusion.", "Disappearance of the effusion.", "Films show clearing of the effusion.", "Effusion has been drained.",
            "Effusion has subsided.", "Previously noted effusion is no longer seen.", "Effusion can be excluded.",
            "Effusion has been ruled out.", "Effusion is excluded.")),
        # partly resolved
        *((text, "present") for text in ("Slow resolution of effusion.", "Effusion is resolving.", "Continued clearing of the effusion.",
            "Near resolution of effusion.", "Effusion is almost gone.", "Effusion has resolved almost completely.",
            "Effusion has all but resolved.", "Some clearing of effusion.", "Failure of the effusion to resolve.")),
        # resolution to be shown later
        *((text, "present") for text in ("Follow-up to ensure resolution of the effusion.", "Repeat until the effusion has resolved.",
            "Repeat to confirm clearing of effusion.", "Repeat once the effusion has cleared.", "Follow effusion to resolution.",
            "Make sure that the effusion has cleared.", "Follow-up to document interval resolution of effusion.")),
        # not excluded yet
        *((text, "uncertain") for text in ("Effusion should be excluded.", "Effusion must be ruled out.", "Effusion needs to be excluded.",
            "An effusion has to be ruled out by CT.", "Effusion to be excluded.", "Recommend CT to exclude effusion.",
            "CT for exclusion of effusion.", "We advise that an effusion be excluded.", "Effusion should first be excluded clinically.",
            "Please exclude effusion.", "Effusion is not excluded.", "Effusion, if any, is small.", "Query effusion.")),
        # not assessable, or not of this image
        *((text, None) for text in ("Effusion would be difficult to detect.", "Effusion cannot be assessed.", "Effusion: n/a",
            "Treated for effusion.", "Prior film with large effusion.", "Lungs clear. // evaluate for effusion", "72M // effusion?")),
    ],
)  # fmt: skip
def test_resolution_exclusion_and_their_pseudo_negations(text, status):
    assert statuses(text).get(PE) == status


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # signs, boxes, codes
        ("effusion+ pneumothorax-", {PE: "present", PTX: "absent"}),
        ("pneumothorax-, effusion+", {PE: "present", PTX: "absent"}),
        ("+ve effusion -ve pneumothorax", {PE: "present", PTX: "absent"}),
        ("-ve effusion, +ve pneumothorax", {PE: "absent", PTX: "present"}),
        ("pneumothorax: 0", {PTX: "absent"}),
        ("Effusion = 0, edema = 2.", {PE: "absent", EDM: "present"}),
        ("Effusion: N", {PE: "absent"}),
        ("Effusion ... none", {PE: "absent"}),
        ("[ ] Effusion [x] Pneumothorax", {PE: "absent", PTX: "present"}),
        ("Effusion/pneumothorax: none", {PE: "absent", PTX: "absent"}),
        ("Pre- and post-treatment effusion; right- sided", {PE: "present"}),
        # questions
        ("Is the heart enlarged?", {CM: "uncertain"}),
        ("Is the heart enlarged? No.", {CM: "absent"}),
        ("Is the heart normal?", {}),
        ("pneumonia?? Small effusion", {PNA: "uncertain", PE: "present"}),
        ("Pneumothorax: ?", {PTX: "uncertain"}),
        ("Pneumothorax: possible, edema: none", {PTX: "uncertain", EDM: "absent"}),
        # removed tubes, and findings beside them
        ("Chest tube removed, no pneumothorax.", {TUBE: "absent", PTX: "absent"}),
        ("Small pneumothorax after chest tube removal.", {TUBE: "absent", PTX: "present"}),
        ("The central line should be removed.", {CATH: "present"}),
        ("Right effusion with atelectasis, pneumothorax has resolved.", {PE: "present", "Pulmonary Atelectasis": "present", PTX: "absent"}),
        ("Small effusion, pneumonia cannot be excluded.", {PE: "present", PNA: "uncertain"}),
        ("Effusion, edema or pneumonia cannot be excluded.", dict.fromkeys((PE, EDM, PNA), "uncertain")),
        # lists and their ends
        ("No pneumothorax, small effusion.", {PTX: "absent", PE: "present"}),
        ("No effusion, small pneumothorax or edema.", dict.fromkeys((PE, PTX, EDM), "absent")),
        ("No small, moderate or large effusion.", {PE: "absent"}),
        ("Edema is favored over pneumonia.", {EDM: "uncertain", PNA: "uncertain"}),
        ("Opacities are favored to represent edema.", {OP: "present", EDM: "uncertain"}),
        ("No signs of failure. Respiratory failure.", {HF: "absent"}),
        # structures
        ("Normal heart size, mediastinal contour and pulmonary vascularity.", dict.fromkeys(
            (CM, "Enlarged Cardiomediastinum", "Pulmonary Congestion"), "absent")),
        ("Normal heart size, lungs and pleura are clear.", {CM: "absent", PE: "absent", PTX: "absent"} | dict.fromkeys(
            ("Consolidation", "Infiltrate", "Airspace Disease", PNA, EDM), "absent")),
        ("Lungs and airways: Clear.", dict.fromkeys(("Consolidation", "Infiltrate", "Airspace Disease", PNA, EDM), "absent")),
        ("Effusion has resolved on the left but persists on the right.", {PE: "present"}),
        ("There is an opacity that was not present on the prior study.", {OP: "present"}),
        ("Film quality limits evaluation for effusion.", {}),
    ],
)  # fmt: skip
def test_shorthand_questions_and_lists(text, expected):
    assert statuses(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # boxes, cells, items
        ("Pneumothorax: [ ] Yes [x] No", {PTX: "absent"}),
        ("Effusion [x] present [ ] absent", {PE: "present"}),
        ("Effusion: [none]. Pneumothorax: [small, left]", {PE: "absent", PTX: "present"}),
        ("Effusion | No\nPneumothorax | No\nCardiomegaly | Yes", {PE: "absent", PTX: "absent", CM: "present"}),
        ("Effusion\tnone\nEdema\tyes", {PE: "absent", EDM: "present"}),
        ("1) Cardiomegaly 2) No effusion 3) Edema", {CM: "present", PE: "absent", EDM: "present"}),
        ("* no effusion * pneumothorax", {PE: "absent", PTX: "present"}),
        ("No (grade 2) effusion", {PE: "absent"}),
        # headings that negate a list
        ("No evidence of:\n- effusion\n- pneumothorax\n\n- edema", {PE: "absent", PTX: "absent", EDM: "present"}),
        ("Findings:\n- effusion\n- no pneumothorax", {PE: "present", PTX: "absent"}),
        ("Absent: effusion, pneumothorax", {PE: "absent", PTX: "absent"}),
        ("The following are absent: effusion, edema. Cardiomegaly.", {PE: "absent", EDM: "absent", CM: "present"}),
        # without punctuation
        ("no effusion or pneumothorax the heart is enlarged", {PE: "absent", PTX: "absent", CM: "present"}),
        ("no pneumothorax small left effusion", {PTX: "absent", PE: "present"}),
        ("heart size normal lungs clear no effusion", {CM: "absent", PE: "absent"} | dict.fromkeys(
            ("Consolidation", "Infiltrate", "Airspace Disease", PNA, EDM), "absent")),
        ("Both C.P. angles are clear.", {PE: "absent", "Costophrenic Angle": "absent"}),
        # earlier images
        ("New right effusion, not seen previously.", {PE: "present"}),
        ("Opacity that was not seen yesterday.", {OP: "present"}),
        ("The prior is from May, when there was a large pneumothorax.", {}),
        ("The right effusion has increased and the left has resolved.", {PE: "present"}),
        # not excluded, and pseudo-negations
        ("Pneumonia has not been excluded.", {PNA: "uncertain"}),
        ("Pneumonia has not been ruled out.", {PNA: "uncertain"}),
        ("Pneumonia has not yet been completely excluded.", {PNA: "uncertain"}),
        ("Pneumonia is less likely but not excluded.", {PNA: "uncertain"}),
        ("Cannot rule out a non-displaced rib fracture.", {"Fractures, Bone": "uncertain"}),
        ("Minimal, if any, effusion.", {PE: "uncertain"}),
        ("Suggest repeat film to ensure clearing of the effusion.", {PE: "present"}),
        ("Devoid of consolidation.", {"Consolidation": "absent"}),
        ("I cannot identify a pneumothorax.", {PTX: "absent"}),
    ],
)  # fmt: skip
def test_forms_of_reports(text, expected):
    assert statuses(text) == expected


@pytest.mark.parametrize(
    ("text", "asked", "denied"),
    [
        ("no pneumothorax small left effusion", {PE}, {PTX}),
        ("no effusion on the left", set(), {f"{PE}/left", f"{PE}/bilateral"}),
        ("absent: effusion, pneumothorax", set(), {PE, PTX}),
        ("no effusion the heart is enlarged", {CM}, {PE}),
        ("chest is negative for pneumothorax", set(), {PTX}),
        ("study negative for effusion or pneumothorax with cardiomegaly", {CM}, {PE, PTX}),
        ("effusion and pneumothorax are negative", set(), {PE, PTX}),
        ("nearly resolved pneumothorax", {PTX}, set()),
        ("pneumothorax resolved after drainage", set(), {PTX}),
        ("pneumonia should be excluded", {PNA}, set()),
        ("please exclude pneumothorax", {PTX}, set()),
        ("to exclude effusion", {PE}, set()),
        ("I want to exclude effusion", set(), {PE}),
        ("Is the heart enlarged?", {CM}, set()),
        ("pneumonia?? Small effusion", {PNA, PE}, set()),
        ("effusion+ pneumothorax-", {PE}, {PTX}),
        ("+ve effusion -ve pneumothorax", {PE}, {PTX}),
        ("pneumothorax: 0", set(), {PTX}),
        ("cardiomegaly // r/o effusion", {CM, PE}, set()),
    ],
)  # fmt: skip
def test_queries_in_other_words(text, asked, denied):
    mentions = find_mentions(text)
    assert (set(mentions.asked), set(mentions.denied)) == (asked, denied)
