"""Labels from the indexing of a study, and names of findings."""

import pytest

from retrieval.errors import UnknownFinding
from retrieval.labels import find_mentions, read_indexing, resolve_finding


def test_heads_come_with_their_chexpert_names():
    labels = read_indexing("Opacity/lung/base/left/mild;Nodule/lung", "Opacity;Nodule")
    assert labels.present == ("Opacity", "Lung Opacity", "Nodule", "Lung Lesion")
    assert labels.problems == ("Opacity", "Nodule")


def test_terms_are_split_on_semicolons_and_never_on_commas():
    labels = read_indexing("Pulmonary Disease, Chronic Obstructive;Fractures, Bone/ribs", "")
    assert labels.present == ("Pulmonary Disease, Chronic Obstructive", "Fractures, Bone", "Fracture")


def test_mesh_holds_each_term_with_its_ancestors():
    labels = read_indexing("Opacity/lung/base;Opacity/lung", "Opacity")
    assert labels.mesh == ("Opacity", "Opacity/lung", "Opacity/lung/base")


def test_borderline_is_uncertain_even_though_problems_repeats_the_head():
    labels = read_indexing("Cardiomegaly/borderline;Pulmonary Artery/enlarged", "Cardiomegaly;Pulmonary Artery")
    assert labels.present == ("Pulmonary Artery",)
    assert labels.uncertain == ("Cardiomegaly",)


def test_a_finding_that_is_present_once_is_not_uncertain():
    labels = read_indexing("Cardiomegaly/borderline;Cardiomegaly/mild", "Cardiomegaly")
    assert labels.present == ("Cardiomegaly",)
    assert labels.uncertain == ()


@pytest.mark.parametrize("field", ["No Indexing", "Technical Quality of Image Unsatisfactory ", ""])
def test_unindexed_and_unsatisfactory_studies_are_unlabelled_and_not_normal(field):
    labels = read_indexing(field, field)
    assert labels.present == ()
    assert labels.uncertain == ()


def test_normal_alone_means_no_finding():
    assert read_indexing("normal", "normal").present == ("normal", "No Finding")


def test_normal_beside_a_finding_is_ignored():
    assert read_indexing("normal;Scoliosis", "normal").present == ("Scoliosis",)


@pytest.mark.parametrize(
    ("dirty", "clean"),
    [
        ("Subcutaneous  Emphysema", "Subcutaneous Emphysema"),
        ("Lymph nodes", "Lymph Nodes"),
        (" Thoracic vertebrae ", "Thoracic Vertebrae"),
    ],
)
def test_spacing_and_case_of_heads_are_corrected(dirty, clean):
    assert read_indexing(dirty, dirty).present == (clean,)


@pytest.mark.parametrize(
    ("term", "name"),
    [
        ("Thickening/pleura/apex", "Pleural Other"),
        ("Mediastinum/enlarged", "Enlarged Cardiomediastinum"),
        ("Catheters, Indwelling", "Support Devices"),
        ("Pulmonary Atelectasis/base", "Atelectasis"),
    ],
)
def test_chexpert_names_of_terms(term, name):
    assert name in read_indexing(term, "").present


@pytest.mark.parametrize("term", ["Thickening/lung", "Mediastinum/prominent", "Pericardial Effusion", "Emphysema"])
def test_terms_outside_the_fourteen_keep_only_their_head(term):
    assert read_indexing(term, "").present == (term.split("/")[0],)


def test_findings_are_resolved_in_any_case():
    assert resolve_finding("pleural  EFFUSION", list) == "Pleural Effusion"
    assert resolve_finding("funnel chest", lambda: ["Funnel Chest"]) == "Funnel Chest"


def test_an_unknown_finding_is_refused_with_the_nearest_names():
    with pytest.raises(UnknownFinding, match="'Cardiomegaly'"):
        resolve_finding("Cardiomegally", list)


@pytest.mark.parametrize(
    ("text", "asked", "denied"),
    [
        ("cardiomegaly, no effusion", ("Cardiomegaly",), ("Pleural Effusion",)),
        ("no pneumothorax or pleural effusion", (), ("Pneumothorax", "Pleural Effusion")),
        ("Enlarged heart without edema but with effusions", ("Cardiomegaly", "Pleural Effusion"), ("Pulmonary Edema",)),
        ("cardiomegaly with pleural effusion", ("Cardiomegaly", "Pleural Effusion"), ()),
        ("pericardial effusion", ("Pericardial Effusion",), ()),
        ("calcified granuloma; nodule", ("Calcified Granuloma", "Nodule"), ()),
        (
            "effusion, no right effusion",
            ("Pleural Effusion",),
            ("Pleural Effusion/right", "Pleural Effusion/bilateral"),
        ),
        ("notable massive heart", (), ()),
    ],
)
def test_queries_name_and_deny_findings(text, asked, denied):
    mentions = find_mentions(text)
    assert mentions.asked == asked
    assert mentions.denied == denied
