from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray

from archives.phantoms import Finding, draw_study
from archives.phantoms.findings import HEADS, choose_findings
from archives.phantoms.reports import write_report

# The words for each finding in a report; uncertain findings use the same words.
NAMES = {
    "cardiomegaly": r"cardiomegaly|(heart|silhouette) is \w+ enlarged",
    "effusion": r"pleural effusions?",
    "pneumothorax": r"pneumothorax",
    "nodule": r"nodule|nodular opacity",
    "consolidation": r"consolidation|airspace disease",
    "atelectasis": r"atelectasis",
    "catheter": r"catheter",
    "pacemaker": r"pacemaker",
    "hernia": r"hiatal hernia",
}
NEGATION = re.compile(r"\b(no|without|free of)\b", re.IGNORECASE)
SAMPLE = 24


def mean_film(*findings: Finding, view: str = "frontal") -> NDArray[np.float64]:
    """The mean image of several patients, pixels 0..255. The patients do not depend on the findings."""
    studies = (draw_study(5, number, findings=findings) for number in range(SAMPLE))
    films = [study.frontal if view == "frontal" else study.lateral for study in studies]
    mean: NDArray[np.float64] = np.mean([film for film in films if film is not None], axis=0)
    return mean


@pytest.fixture(scope="module")
def normal() -> NDArray[np.float64]:
    return mean_film()


def test_a_study_is_the_same_at_every_call_and_in_any_order() -> None:
    first = [draw_study(3, number) for number in (0, 1, 2)]
    again = [draw_study(3, number) for number in (2, 0, 1)]
    for study, twin in zip(first, [again[1], again[2], again[0]], strict=True):
        assert (study.uid, study.findings, study.report) == (twin.uid, twin.findings, twin.report)
        assert np.array_equal(study.frontal, twin.frontal)
        assert (study.lateral is None) == (twin.lateral is None)
        if study.lateral is not None and twin.lateral is not None:
            assert np.array_equal(study.lateral, twin.lateral)


def test_studies_differ_between_numbers_and_seeds() -> None:
    studies = [draw_study(seed, number) for seed in (0, 1) for number in range(8)]
    assert len({study.uid for study in studies}) == 16
    assert len({study.frontal.tobytes() for study in studies}) == 16


def test_images_are_eight_bit_squares_that_use_the_grey_scale() -> None:
    for number in range(12):
        study = draw_study(0, number)
        for film in (study.frontal, study.lateral):
            if film is not None:
                assert film.shape == (256, 256)
                assert film.dtype == np.uint8
                low, high = np.percentile(film, (2, 98))
                assert low < 60
                assert high > 150


def test_nine_studies_in_ten_have_a_lateral_view() -> None:
    with_lateral = sum(draw_study(0, number).lateral is not None for number in range(120))
    assert 95 <= with_lateral <= 118


def test_about_a_third_are_normal_and_every_finding_occurs() -> None:
    chosen = [choose_findings(np.random.default_rng([9, number])) for number in range(2000)]
    kinds = Counter(finding.kind for findings in chosen for finding in findings)
    assert 0.26 < sum(not findings for findings in chosen) / 2000 < 0.34
    assert set(kinds) == set(HEADS)
    assert min(kinds.values()) > 100
    assert 0.08 < sum(len(findings) == 2 for findings in chosen) / 2000 < 0.25
    assert any(finding.grade == "borderline" for findings in chosen for finding in findings)


def test_every_finding_is_named_in_the_report_and_none_is_denied() -> None:
    for number in range(1500):
        rng = np.random.default_rng([11, number])
        findings = choose_findings(rng)
        report = write_report(findings, rng)
        asserted, denied = split_by_negation(f"{report.findings} {report.impression}")
        present = {finding.kind for finding in findings}
        for kind, pattern in NAMES.items():
            named = re.search(pattern, asserted, re.IGNORECASE) is not None
            assert named == (kind in present), (kind, asserted)
            assert not (kind in present and re.search(pattern, denied, re.IGNORECASE)), (kind, denied)


def test_side_lobe_and_doubt_reach_the_report() -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        assert "left" in write_report([Finding("effusion", "left", grade="small")], rng).findings
        assert "right middle lobe" in write_report([Finding("consolidation", "right", "middle lobe")], rng).findings
        doubtful = write_report([Finding("nodule", "left", "upper lobe", "small", sure=False)], rng)
        assert re.search(r"possible|questionable", doubtful.findings, re.IGNORECASE)
        borderline = write_report([Finding("cardiomegaly", grade="borderline", sure=False)], rng)
        assert re.search(r"borderline", borderline.impression, re.IGNORECASE)


def test_many_normal_reports_are_word_for_word_the_same() -> None:
    reports = Counter(write_report((), np.random.default_rng([1, number])).group for number in range(300))
    assert reports.most_common(1)[0][1] > 100
    assert len(reports) > 1


@pytest.mark.parametrize(
    ("finding", "mesh"),
    [
        (Finding("cardiomegaly", grade="borderline", sure=False), "Cardiomegaly/borderline"),
        (Finding("effusion", "bilateral", grade="small"), "Pleural Effusion/bilateral/small"),
        (Finding("pneumothorax", "right", grade="small"), "Pneumothorax/apex/right/small"),
        (Finding("nodule", "right", "upper lobe"), "Nodule/lung/upper lobe/right"),
        (Finding("nodule", "left", "lingula", "small"), "Nodule/lung/lingula/small"),
        (Finding("consolidation", "left", "lower lobe"), "Consolidation/lung/lower lobe/left"),
        (Finding("atelectasis", "left"), "Pulmonary Atelectasis/base/left"),
        (Finding("catheter", "right", "port"), "Catheters, Indwelling/right"),
        (Finding("pacemaker", "left"), "Implanted Medical Device/left"),
        (Finding("hernia", grade="large"), "Hernia, Hiatal/large"),
    ],
)
def test_terms_are_written_as_indianas_indexers_write_them(finding: Finding, mesh: str) -> None:
    assert finding.mesh == mesh
    assert finding.head == mesh.split("/")[0]


def test_terms_of_a_study_are_joined_by_semicolons_and_normal_stands_alone() -> None:
    pair = draw_study(0, 0, findings=(Finding("cardiomegaly", grade="mild"), Finding("hernia", grade="large")))
    assert (pair.mesh, pair.problems) == ("Cardiomegaly/mild;Hernia, Hiatal/large", "Cardiomegaly;Hernia, Hiatal")
    none = draw_study(0, 0, findings=())
    assert (none.mesh, none.problems) == ("normal", "normal")


def test_an_effusion_is_white_at_the_costophrenic_angle_of_its_side(normal: NDArray[np.float64]) -> None:
    added = mean_film(Finding("effusion", "left", grade="small")) - normal
    # The patient's left is on the image's right; rows and columns about the angles.
    assert added[170:190, 190:215].mean() > 15
    assert abs(added[170:190, 41:66].mean()) < 3


def test_a_large_effusion_covers_more_than_a_small_one(normal: NDArray[np.float64]) -> None:
    small = mean_film(Finding("effusion", "right", grade="small")) - normal
    large = mean_film(Finding("effusion", "right", grade="large")) - normal
    assert (large > 20).sum() > 2 * (small > 20).sum()


def test_cardiomegaly_widens_the_heart_by_grade(normal: NDArray[np.float64]) -> None:
    widths = [
        int(((mean_film(Finding("cardiomegaly", grade=grade)) - normal)[150:165] > 12).sum())
        for grade in ("borderline", "mild", "moderate", "severe")
    ]
    assert widths == sorted(widths)
    assert widths[-1] > 1.5 * widths[1] > 0


def test_a_pneumothorax_is_dark_at_the_apex_of_its_side(normal: NDArray[np.float64]) -> None:
    added = mean_film(Finding("pneumothorax", "right", grade="large")) - normal
    assert added[55:90, 65:90].mean() < -8
    assert abs(added[55:90, 166:191].mean()) < 3


@pytest.mark.parametrize("site", ["upper lobe", "middle lobe", "lower lobe"])
def test_a_consolidation_is_white_on_its_side_at_its_height(normal: NDArray[np.float64], site: str) -> None:
    added = mean_film(Finding("consolidation", "right", site)) - normal
    rows = added[:, :128].clip(0).sum(axis=1)
    height = float((rows * np.arange(256)).sum() / rows.sum())
    assert added[:, :128].clip(0).sum() > 5 * added[:, 128:].clip(0).sum()
    low, high = {"upper lobe": (60, 100), "middle lobe": (125, 165), "lower lobe": (135, 180)}[site]
    assert low < height < high


@pytest.mark.parametrize(
    "finding",
    [
        Finding("cardiomegaly", grade="severe"),
        Finding("effusion", "right", grade="large"),
        Finding("pneumothorax", "right", grade="large"),
        Finding("nodule", "right", "upper lobe"),
        Finding("consolidation", "left", "lower lobe"),
        Finding("atelectasis", "left"),
        Finding("catheter", "right", "port"),
        Finding("pacemaker", "left"),
        Finding("hernia", grade="large"),
    ],
    ids=lambda finding: finding.kind,
)
def test_every_finding_changes_both_views_and_the_same_patient_stays(finding: Finding) -> None:
    number = next(n for n in range(20) if draw_study(5, n, findings=()).lateral is not None)
    plain, ill = draw_study(5, number, findings=()), draw_study(5, number, findings=(finding,))
    for before, after in ((plain.frontal, ill.frontal), (plain.lateral, ill.lateral)):
        assert before is not None
        assert after is not None
        change = np.abs(after.astype(int) - before.astype(int))
        assert (change > 15).sum() > 60
        # Outside the chest nothing changes: the upper corners are equal.
        assert np.median(change[:20, :20]) <= 2


def split_by_negation(text: str) -> tuple[str, str]:
    """The affirmed and the negated parts of a report; a negation reaches to the end of its sentence."""
    asserted, denied = [], []
    for sentence in re.split(r"(?<=[.])\s", text):
        match = NEGATION.search(sentence)
        asserted.append(sentence[: match.start()] if match else sentence)
        denied.append(sentence[match.start() :] if match else "")
    return " ".join(asserted), " ".join(denied)
