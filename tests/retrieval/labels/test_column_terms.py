"""Label columns of other datasets become names of the two vocabularies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.labels.study import label_study
from retrieval.labels import find_term, read_indexing, read_status, read_terms, unknown_terms
from retrieval.labels.finding_words import WORDS_OF_HEAD
from retrieval.labels.vocabulary import CHEXPERT_14, OTHER_HEADS

NIH = {
    "Atelectasis": "Atelectasis",
    "Cardiomegaly": "Cardiomegaly",
    "Effusion": "Pleural Effusion",
    "Infiltration": "Infiltrate",
    "Mass": "Lung Lesion",
    "Nodule": "Lung Lesion",
    "Pneumonia": "Pneumonia",
    "Pneumothorax": "Pneumothorax",
    "Consolidation": "Consolidation",
    "Edema": "Edema",
    "Emphysema": "Emphysema",
    "Fibrosis": "Pulmonary Fibrosis",
    "Pleural_Thickening": "Pleural Other",
    "Hernia": "Hernia, Hiatal",
}
PADCHEST = {
    "pleural effusion": "Pleural Effusion",
    "cardiomegaly": "Cardiomegaly",
    "laminar atelectasis": "Atelectasis",
    "infiltrates": "Infiltrate",
    "alveolar pattern": "Airspace Disease",
    "costophrenic angle blunting": "Costophrenic Angle",
    "apical pleural thickening": "Pleural Other",
    "callus rib fracture": "Fracture",
    "NSG tube": "Support Devices",
    "dual chamber device": "Support Devices",
    "heart insufficiency": "Heart Failure",
    "COPD signs": "Pulmonary Disease, Chronic Obstructive",
    "hiatal hernia": "Hernia, Hiatal",
    "pulmonary mass": "Mass",
    "multiple nodules": "Nodule",
    "superior mediastinal enlargement": "Enlarged Cardiomediastinum",
}


@pytest.mark.parametrize(("term", "name"), [*NIH.items(), *PADCHEST.items()])
def test_terms_of_other_datasets_become_findings_of_the_vocabularies(term: str, name: str) -> None:
    assert name in read_indexing("", term).present
    assert unknown_terms("", term) == ()


def test_every_name_of_both_vocabularies_is_a_known_term() -> None:
    for head in (*WORDS_OF_HEAD, *OTHER_HEADS):
        assert (find_term(head) or [""])[0] == head
    for name in CHEXPERT_14[1:]:
        assert name in read_indexing("", name).present
    assert "No Finding" in read_indexing("", "No Finding").present


@pytest.mark.parametrize(
    "cell",
    [
        "Cardiomegaly;Effusion",
        "Cardiomegaly|Effusion",
        "cardiomegaly | EFFUSION|",
        "['cardiomegaly', 'pleural effusion']",
        '["Cardiomegaly", "Pleural Effusion"]',
        "['cardiomegaly' 'pleural effusion']",
        "['cardiomegaly'\n 'pleural effusion']",
        "['', 'cardiomegaly', 'pleural effusion ', nan]",
        "[cardiomegaly, pleural effusion]",
        "('cardiomegaly', 'pleural effusion')",
        "{'cardiomegaly', 'pleural effusion'}",
        "Cardiomegaly, Pleural_Effusion",
    ],
)
def test_lists_of_terms_in_every_form_give_the_same_labels(cell: str) -> None:
    assert [term[0] for term in read_terms(cell)] == ["Cardiomegaly", "Pleural Effusion"]
    labels = read_indexing("", cell)
    assert labels.present == ("Cardiomegaly", "Pleural Effusion")
    assert labels.problems == ("Cardiomegaly", "Pleural Effusion")


KNOWN = st.lists(st.sampled_from([*NIH, *PADCHEST]), min_size=1, max_size=5, unique=True)


@given(KNOWN, st.sampled_from([str.lower, str.upper, str]), st.sampled_from(["|", ";", " | ", "; "]))
def test_separators_and_case_do_not_change_the_labels(terms: list[str], case: object, separator: str) -> None:
    alone = {name for term in terms for name in read_indexing("", term).present}
    assert set(read_indexing("", separator.join(case(term) for term in terms)).present) == alone  # type: ignore[operator]
    assert set(read_indexing("", repr(terms)).present) == alone


def test_commas_in_mesh_names_are_not_separators() -> None:
    assert read_terms("Pulmonary Disease, Chronic Obstructive") == [["Pulmonary Disease, Chronic Obstructive"]]
    assert read_terms("Aorta, Thoracic/tortuous;Lung, Hyperlucent") == [
        ["Aorta, Thoracic", "tortuous"],
        ["Lung, Hyperlucent"],
    ]
    assert read_terms("Something, Other") == [["Something, Other"]]


def test_terms_outside_the_vocabularies_are_kept_and_reported() -> None:
    cell = "['aortic elongation', 'cardiomegaly', 'chronic changes']"
    assert unknown_terms("", cell) == ("Aortic Elongation", "Chronic Changes")
    assert read_indexing("", cell).present == ("Aortic Elongation", "Cardiomegaly", "Chronic Changes")
    assert unknown_terms("Opacity/lung/base", "Opacity;normal;No Indexing") == ()


@pytest.mark.parametrize(
    "cell",
    [
        "",
        "[]",
        "['']",
        "exclude",
        "['exclude']",
        "suboptimal study",
        "['unchanged']",
        "[nan]",
        "3",
        "0;1",
        "unknown",
        "todo",
    ],
)
def test_cells_without_meaning_leave_a_study_unlabelled(cell: str) -> None:
    labels = label_study("", cell, "", "")
    assert (labels.present, labels.uncertain, labels.absent, labels.from_indexing) == ((), (), (), ())


def test_normal_counts_only_alone_and_no_finding_only_without_chexpert_findings() -> None:
    assert read_indexing("", "['normal']").present == ("normal", "No Finding")
    assert read_indexing("", "['normal', 'unchanged']").present == ("normal", "No Finding")
    assert read_indexing("", "['normal', 'exclude']").present == ()
    assert read_indexing("", "['normal', 'scoliosis']").present == ("Scoliosis",)
    assert read_indexing("", "No Finding").present == ("No Finding",)
    assert read_indexing("", "No Finding|Effusion").present == ("Pleural Effusion",)
    devices = read_indexing("", "", [("No Finding", "present"), ("Support Devices", "present")])
    assert devices.present == ("No Finding", "Support Devices")


@pytest.mark.parametrize(
    ("cells", "status"),
    [
        (("1", "1.0", "1,0", "TRUE", "true", "Yes", "positive", "Present"), "present"),
        (("0", "0.0", "-0.0", "FALSE", "no", "negative", "absent"), "absent"),
        (("-1", "-1.0", "−1", "-1,0", "uncertain", "U"), "uncertain"),
        (("", " ", "2", "0.5", "70", "nan", "inf", "maybe", "1e5", "Effusion"), None),
    ],
)
def test_statuses_are_read_in_every_spelling(cells: tuple[str, ...], status: str | None) -> None:
    assert [read_status(cell) for cell in cells] == [status] * len(cells)


@pytest.mark.parametrize(
    ("column", "other", "observation"),
    [
        ("Mass", "Nodule", "Lung Lesion"),
        ("Infiltration", "Consolidation", "Lung Opacity"),
        ("Pacemaker", "Catheter", "Support Devices"),
        ("Pleural_Thickening", "Effusion", "Pleural Other"),
    ],
)
def test_an_absent_head_does_not_negate_an_observation_with_other_heads(
    column: str, other: str, observation: str
) -> None:
    labels = read_indexing("", "", [(column, "absent"), (other, "uncertain")])
    assert observation not in labels.absent
    assert (find_term(column) or [""])[0] in labels.absent
    assert observation in read_indexing("", "", [(observation, "absent")]).absent


@pytest.mark.parametrize("term", ["Nodule/Mass", "nodule/mass", "Nodule/Mass;Nodule/Mass", "['Nodule/Mass']"])
def test_nodule_or_mass_becomes_lung_lesion_only(term: str) -> None:
    assert read_indexing("", term).present == ("Lung Lesion",)
    assert read_indexing("", "", [("Nodule/Mass", "absent")]).absent == ("Lung Lesion",)


@pytest.mark.parametrize("term", ["breast mass", "soft tissue mass", "mediastinal mass", "tuberculosis sequelae"])
def test_padchest_terms_with_another_meaning_stay_unchanged(term: str) -> None:
    assert [name.lower() for name in read_indexing("", f"['{term}']").present] == [term]


@given(st.dictionaries(st.sampled_from(CHEXPERT_14[1:]), st.sampled_from(["present", "absent", "uncertain"])))
def test_each_finding_has_one_status_which_is_that_of_its_column(said: dict[str, str]) -> None:
    labels = read_indexing("", "", list(said.items()))  # type: ignore[arg-type]
    names = {"present": labels.present, "absent": labels.absent, "uncertain": labels.uncertain}
    for name, status in said.items():
        assert name in names[status]
    assert len({*labels.present, *labels.absent, *labels.uncertain}) == sum(map(len, names.values()))
    assert "No Finding" not in labels.present


def test_a_blank_cell_gives_no_label_and_a_zero_gives_absent() -> None:
    assert label_study("", "", "", "").present == ()
    labels = label_study(
        "", "", "", "", [("Edema", "absent"), ("Fracture", "uncertain"), ("Pleural Effusion", "present")]
    )
    assert labels.absent == ("Pulmonary Edema", "Edema")
    assert labels.uncertain == ("Fractures, Bone", "Fracture")
    assert labels.present == ("Pleural Effusion",)
    assert labels.problems == ("Pleural Effusion",)
    assert set(labels.from_indexing) == {*labels.absent, *labels.uncertain, *labels.present}
    assert label_study("", "", "", "", [("No Finding", "absent")]).absent == ()


def test_label_columns_have_precedence_over_the_text() -> None:
    said = [("Pneumothorax", "absent"), ("Cardiomegaly", "uncertain")]
    labels = label_study("", "", "Large pneumothorax. Cardiomegaly. Small pleural effusion.", "", said)  # type: ignore[arg-type]
    assert "Pneumothorax" in labels.absent
    assert "Cardiomegaly" in labels.uncertain
    assert labels.present == ("Pleural Effusion",)
    assert labels.from_text == ("Pleural Effusion",)


def test_no_finding_makes_only_chexpert_findings_of_the_text_uncertain() -> None:
    labels = label_study("", "No Finding", "Scoliosis. Cardiomegaly.", "")
    assert labels.uncertain == ("Cardiomegaly",)
    assert set(labels.present) == {"No Finding", "Scoliosis"}


def test_a_study_with_only_absent_columns_is_normal_only_if_its_text_is() -> None:
    said = [("Edema", "absent"), ("Pneumothorax", "absent")]
    assert label_study("", "", "", "", said).present == ()  # type: ignore[arg-type]
    text = "No pleural effusion. No consolidation."
    assert label_study("", "", text, "", said).present == ("No Finding",)  # type: ignore[arg-type]
