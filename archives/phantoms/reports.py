"""Writes reports of phantoms: findings, negations, uncertainty; many normal reports are identical, as in practice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from archives.phantoms.findings import Finding, Kind
from retrieval.records import Report

# (findings, impression). The weights are uneven, because most readers of a department use the same macro.
NORMALS: tuple[tuple[str, str], ...] = (
    (
        "The heart is normal in size. The lungs are clear. No pneumothorax or pleural effusion.",
        "No acute cardiopulmonary abnormality.",
    ),
    (
        "Heart size is within normal limits. No focal airspace disease. No pleural effusion or pneumothorax is seen.",
        "No acute cardiopulmonary disease.",
    ),
    (
        "Cardiac and mediastinal contours are within normal limits. The lungs are clear. Bony structures are intact.",
        "Normal chest.",
    ),
    (
        "Lungs are clear without focal consolidation, pneumothorax or pleural effusion. Normal heart size.",
        "Negative chest.",
    ),
)
_NORMAL_WEIGHTS = (0.55, 0.20, 0.15, 0.10)

INDICATIONS = (
    "Chest pain.",
    "Shortness of breath.",
    "Cough.",
    "Cough and fever.",
    "Dyspnea.",
    "Preoperative examination.",
    "Routine examination.",
    "Positive tuberculin test.",
    "Weakness.",
)
COMPARISONS = (
    "None.",
    "None available.",
    "",
    "Chest radiograph of the previous year.",
    "PA and lateral chest, one month before.",
)

_HEART_NORMAL = (
    "Heart size is within normal limits.",
    "The heart is normal in size.",
    "Cardiac and mediastinal contours are within normal limits.",
    "Cardiomediastinal silhouette is within normal limits.",
)
_BONES = ("Bony structures are intact.", "No acute bony abnormality.", "Osseous structures are unremarkable.")

# Findings that a report denies, in this order.
_DENIALS: tuple[tuple[Kind, str], ...] = (
    ("pneumothorax", "pneumothorax"),
    ("effusion", "pleural effusion"),
    ("consolidation", "focal consolidation"),
    ("nodule", "suspicious pulmonary nodule"),
)


def write_report(findings: Sequence[Finding], rng: np.random.Generator) -> Report:
    """The report of a study with these findings. It names each of them and denies none."""
    indication = _pick(rng, INDICATIONS)
    comparison = _pick(rng, COMPARISONS)
    if not findings:
        text, impression = NORMALS[int(rng.choice(len(NORMALS), p=_NORMAL_WEIGHTS))]
        return Report(text, impression, indication, comparison)
    kinds = {finding.kind for finding in findings}
    sentences = [] if "cardiomegaly" in kinds else [_pick(rng, _HEART_NORMAL)]
    conclusions = []
    for finding in findings:
        sentence, conclusion = _describe_finding(finding, rng)
        sentences.append(sentence)
        conclusions.append(conclusion)
    if not kinds & {"consolidation", "atelectasis", "nodule", "pneumothorax", "effusion"}:
        sentences.append(_pick(rng, ("The lungs are clear.", "Lungs are clear bilaterally.")))
    sentences.append(_write_negation(kinds, rng))
    if rng.random() < 0.3:
        sentences.append(_pick(rng, _BONES))
    if len(conclusions) > 1:
        impression = " ".join(f"{number}. {text}" for number, text in enumerate(conclusions, start=1))
    else:
        impression = conclusions[0]
    return Report(" ".join(sentences), impression, indication, comparison)


def _write_negation(kinds: set[Kind], rng: np.random.Generator) -> str:
    absent = [words for kind, words in _DENIALS if kind not in kinds]
    count = min(len(absent), 2 if rng.random() < 0.6 else 3)
    chosen = absent[:count]
    listing = ", ".join(chosen[:-1]) + f" or {chosen[-1]}"
    return _pick(rng, (f"No {listing}.", f"There is no {listing}.", f"No evidence of {listing}."))


def _describe_finding(finding: Finding, rng: np.random.Generator) -> tuple[str, str]:
    """One sentence for the findings, one for the impression."""
    side = {"bilateral": "bilateral", "": ""}.get(finding.side, finding.side)
    grade = finding.grade
    where = "lingula" if finding.site == "lingula" else f"{side} {finding.site}"
    match finding.kind:
        case "cardiomegaly" if grade == "borderline":
            return _pair(
                rng,
                ("The heart size is borderline.", "Borderline cardiomegaly."),
                ("Heart size is at the upper limits of normal.", "Borderline heart size, possible cardiomegaly."),
            )
        case "cardiomegaly":
            word = {"mild": "mildly", "moderate": "moderately", "severe": "markedly"}[grade]
            return _pair(
                rng,
                (f"The heart is {word} enlarged.", f"{grade.capitalize()} cardiomegaly."),
                (f"There is {grade} cardiomegaly.", "Cardiomegaly without acute disease."),
                (f"The cardiac silhouette is {word} enlarged.", f"{grade.capitalize()} cardiomegaly."),
            )
        case "effusion" if side == "bilateral":
            return _pair(
                rng,
                (f"There are {grade} bilateral pleural effusions.", f"Bilateral {grade} pleural effusions."),
                (f"{grade.capitalize()} pleural effusions are present on both sides.", "Bilateral pleural effusions."),
            )
        case "effusion":
            look = "blunts the costophrenic angle" if grade == "small" else "obscures the hemidiaphragm"
            return _pair(
                rng,
                (f"There is a {grade} {side} pleural effusion.", f"{grade.capitalize()} {side} pleural effusion."),
                (f"A {grade} pleural effusion {look} on the {side}.", f"{side.capitalize()} pleural effusion."),
            )
        case "pneumothorax":
            place = "apical " if grade == "small" else ""
            return _pair(
                rng,
                (f"There is a {grade} {side} {place}pneumothorax.", f"{grade.capitalize()} {side} pneumothorax."),
                (
                    f"A {grade} pneumothorax is seen on the {side} with a visible pleural line.",
                    f"{side.capitalize()} pneumothorax.",
                ),
            )
        case "nodule" if not finding.sure:
            return _pair(
                rng,
                (f"Possible small nodule in the {where}.", "Possible pulmonary nodule. Recommend CT."),
                (f"A questionable nodular opacity projects over the {where}.", "Questionable lung nodule."),
            )
        case "nodule":
            size = "small round nodule" if grade == "small" else "round nodule"
            return _pair(
                rng,
                (f"There is a {size} in the {where}.", f"Pulmonary nodule in the {where}. Recommend CT."),
                (f"A well-defined {size} is seen in the {where}.", f"Nodule in the {where}."),
            )
        case "consolidation":
            return _pair(
                rng,
                (
                    f"There is airspace consolidation in the {where}.",
                    f"Consolidation in the {where}, compatible with pneumonia.",
                ),
                (
                    f"Focal consolidation is present in the {where}.",
                    f"Airspace disease in the {where}, consistent with pneumonia.",
                ),
            )
        case "atelectasis":
            base = "both lung bases" if side == "bilateral" else f"the {side} lung base"
            name = "Bibasilar" if side == "bilateral" else f"{side.capitalize()} basilar"
            return _pair(
                rng,
                (f"There is bandlike atelectasis at {base}.", f"{name} atelectasis."),
                (f"Linear opacities at {base} are consistent with subsegmental atelectasis.", f"{name} atelectasis."),
            )
        case "catheter" if finding.site == "port":
            return _pair(
                rng,
                (
                    f"A {side} chest port catheter has its tip in the superior vena cava.",
                    f"{side.capitalize()} indwelling port catheter in place.",
                ),
                (
                    f"{side.capitalize()} sided port with catheter tip at the cavoatrial junction.",
                    "Indwelling port catheter in place.",
                ),
            )
        case "catheter":
            return _pair(
                rng,
                (
                    f"A {side} central venous catheter ends in the superior vena cava.",
                    f"{side.capitalize()} central venous catheter in place.",
                ),
                (
                    f"{side.capitalize()} sided indwelling catheter with tip at the cavoatrial junction.",
                    "Central venous catheter in place.",
                ),
            )
        case "pacemaker":
            return _pair(
                rng,
                (
                    f"A {side} chest wall pacemaker with leads in the right atrium and ventricle is present.",
                    "Implanted cardiac pacemaker.",
                ),
                (
                    f"Implanted dual lead pacemaker device on the {side}.",
                    f"{side.capitalize()} sided implanted pacemaker device.",
                ),
            )
        case "hernia":
            return _pair(
                rng,
                (
                    f"There is a {grade} hiatal hernia with an air-fluid level behind the heart.",
                    f"{grade.capitalize()} hiatal hernia.",
                ),
                (f"{grade.capitalize()} retrocardiac hiatal hernia.", "Hiatal hernia."),
            )


def _pair(rng: np.random.Generator, *options: tuple[str, str]) -> tuple[str, str]:
    return options[int(rng.integers(len(options)))]


def _pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]
