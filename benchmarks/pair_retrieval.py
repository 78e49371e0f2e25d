"""What a shipped bundle finds: pairs of image and report, and images for the name of a finding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.encoder import Encoder
from retrieval.evaluation.measures import (
    chance_macro_precision,
    chance_recall_at,
    macro_precision_at,
    precision_at,
    recall_at,
    same_label,
)
from retrieval.imaging.decode import read_image
from retrieval.labels import CHEXPERT_14, NORMAL, read_labels
from retrieval.records import ImageRecord, Report, Study

KS = (1, 5, 10)
_BATCH = 32
NOT_FINDINGS = {NORMAL, "No Indexing", "Technical Quality of Image Unsatisfactory"}


def images_of(studies: Sequence[Study], *, view: str | None) -> list[tuple[Study, ImageRecord]]:
    """All images of `view` (None: of any) with the study each belongs to, in order."""
    return [(study, image) for study in studies for image in study.images if view in (None, image.view)]


def embed_files(encoder: Encoder, images: Sequence[ImageRecord]) -> NDArray[np.float32]:
    """Embeddings of image files, float32 [N, D], through the encoder that ships."""
    batches = []
    for start in range(0, len(images), _BATCH):
        batches.append(encoder.encode_images([read_image(image.path)[0] for image in images[start : start + _BATCH]]))
    return np.concatenate(batches)


def report_query(report: Report) -> str:
    """The text of a report as it is searched by: findings, then impression."""
    return " ".join(f"{report.findings} {report.impression}".split())


def measure_pairs(encoder: Encoder, studies: Sequence[Study], *, view: str | None) -> dict[str, Any]:
    """Exact-pair recall both ways, strict and grouped, with chance beside it.

    The galleries: every image of `view`, and one report for each study that has such an image and report text.
    """
    pairs = [(study, image) for study, image in images_of(studies, view=view) if study.report.group]
    reports = list({study.study_id: study for study, _ in pairs}.values())
    images = embed_files(encoder, [image for _, image in pairs])
    texts = encoder.encode_texts([report_query(study.report) for study in reports])
    similarity = images @ texts.T
    relevances = {
        "strict": same_label([study.study_id for study, _ in pairs], [study.study_id for study in reports]),
        "grouped": same_label([study.report.group for study, _ in pairs], [study.report.group for study in reports]),
    }
    scores: dict[str, Any] = {
        "view": view or "all",
        "text": "findings + impression",
        "images": len(pairs),
        "reports": len(reports),
        "report_groups": len({study.report.group for study in reports}),
    }
    ways = {"image_to_report": (similarity, False), "report_to_image": (similarity.T, True)}
    for way, (matrix, transposed) in ways.items():
        for rule, relevant in relevances.items():
            mine = relevant.T if transposed else relevant
            scores[f"{way}_{rule}"] = {
                **{f"R@{k}": round(recall_at(matrix, mine, k), 4) for k in KS},
                **{f"chance_R@{k}": round(chance_recall_at(mine, k), 4) for k in KS},
            }
    return scores


def measure_likeness(
    encoder: Encoder, studies: Sequence[Study], *, view: str | None, k: int = 10, smallest: int = 5
) -> dict[str, Any]:
    """P@k of images for an image: how many of its neighbours share a finding with it, macro-averaged over findings.

    The query's own study is left out of the gallery. Once over the heads of the indexing with at least `smallest` images,
    `normal` left out, and once over CheXpert's findings without `No Finding`.
    """
    pairs = images_of(studies, view=view)
    images = embed_files(encoder, [image for _, image in pairs])
    owners = [study.study_id for study, _ in pairs]
    similarity = np.where(same_label(owners, owners), -np.inf, images @ images.T)
    labels = [read_labels(study.mesh, study.problems) for study, _ in pairs]
    heads = [frozenset(label.problems) - NOT_FINDINGS for label in labels]
    chexpert = [frozenset(label.present) & (frozenset(CHEXPERT_14) - {"No Finding"}) for label in labels]
    scores: dict[str, Any] = {"view": view or "all", "images": len(pairs)}
    for vocabulary, found in (("heads", heads), ("chexpert", chexpert)):
        counts = Counter(finding for each in found for finding in each)
        findings = sorted(finding for finding, count in counts.items() if count >= smallest)
        asked, rows, relevant = [], [], []
        for finding in findings:
            holds = np.array([finding in each for each in found])
            for query in np.flatnonzero(holds):
                asked.append(finding)
                rows.append(query)
                relevant.append(holds & (np.array(owners) != owners[query]))
        precision = macro_precision_at(similarity[rows], np.array(relevant), k, asked)
        chance = chance_macro_precision(np.array(relevant), asked)
        scores[vocabulary] = {
            "findings": {finding: counts[finding] for finding in findings},
            f"macro_P@{k}": round(precision, 4),
            f"chance_macro_P@{k}": round(chance, 4),
            "lift": round(precision / chance, 2),
        }
    return scores


def measure_groups(encoder: Encoder, studies: Sequence[Study], *, view: str | None) -> dict[str, Any]:
    """Image -> report recall where reports that say the same stand in the gallery once, as one report.

    Without it, one report that a third of all studies share would fill the first ten places with itself.
    """
    pairs = [(study, image) for study, image in images_of(studies, view=view) if study.report.group]
    reports = list({study.report.group: study for study, _ in pairs}.values())
    similarity = (
        embed_files(encoder, [image for _, image in pairs])
        @ encoder.encode_texts([report_query(study.report) for study in reports]).T
    )
    relevant = same_label([study.report.group for study, _ in pairs], [study.report.group for study in reports])
    found, chance = recall_at(similarity, relevant, 10), chance_recall_at(relevant, 10)
    return {
        "view": view or "all",
        "text": "findings + impression",
        "gallery": "one report per group of identical reports",
        "images": len(pairs),
        "report_groups": len(reports),
        **{f"R@{k}": round(recall_at(similarity, relevant, k), 4) for k in KS},
        "chance_R@10": round(chance, 4),
        "lift_R@10": round(found / chance, 2),
    }


def measure_findings(
    encoder: Encoder,
    studies: Sequence[Study],
    prompts: dict[str, str],
    present: Callable[[Study], frozenset[str]],
    *,
    view: str | None,
    k: int = 10,
) -> dict[str, Any]:
    """P@k of images for a finding's prompt, macro-averaged over findings, with chance beside it.

    Args:
        prompts: the text that is searched for each finding.
        present: the findings of a study.
    """
    pairs = images_of(studies, view=view)
    images = embed_files(encoder, [image for _, image in pairs])
    findings = list(prompts)
    similarity = encoder.encode_texts([prompts[finding] for finding in findings]) @ images.T
    holds = [present(study) for study, _ in pairs]
    relevant = np.array([[finding in found for found in holds] for finding in findings], dtype=bool)
    each = precision_at(similarity, relevant, k)
    return {
        "view": view or "all",
        "images": len(pairs),
        f"macro_P@{k}": round(macro_precision_at(similarity, relevant, k, findings), 4),
        f"chance_macro_P@{k}": round(chance_macro_precision(relevant, findings), 4),
        "by_finding": {
            finding: {"prompt": prompts[finding], f"P@{k}": round(float(value), 4), "relevant": int(count)}
            for finding, value, count in zip(findings, each, relevant.sum(axis=1), strict=True)
        },
    }
