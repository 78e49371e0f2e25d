"""Measures retrieval of a bundle without an index, by the protocol of `evaluation`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.embedded_corpus import embed_studies
from evaluation.corpus import Corpus
from evaluation.evaluate import model_scorer
from evaluation.intervals import macro_mean
from evaluation.results import Protocol, Vocabulary
from evaluation.scoring import judge
from evaluation.tasks import Task, image_to_image, pair_tasks, text_to_image
from retrieval.labels import NORMAL
from retrieval.model.encoder import Encoder
from retrieval.records import Study, View

KS = (1, 5, 10)
NOT_FINDINGS = {NORMAL, "No Indexing", "Technical Quality of Image Unsatisfactory"}
_RULES = Protocol(queries=1_000_000)  # every image is a query


def measure_pairs(encoder: Encoder, studies: Sequence[Study], *, view: View | None) -> dict[str, Any]:
    """Exact-pair recall in both directions, strict and grouped, with chance. A report is encoded as one text."""
    corpus = embed_studies(encoder, studies, view=view, vocabulary="chexpert")
    tasks = {task.name: task for task in pair_tasks(corpus, _RULES)}
    strict = tasks["image_to_report_strict"]
    scores: dict[str, Any] = {
        "view": view or "all",
        "text": "findings + impression",
        "images": len(strict.rows),
        "reports": len(strict.columns),
        "report_groups": len(tasks["image_to_report_distinct"].columns),
    }
    for name, task in tasks.items():
        if not name.endswith("distinct"):
            scores[name] = _recall(task, corpus, encoder)
    return scores


def measure_groups(encoder: Encoder, studies: Sequence[Study], *, view: View | None) -> dict[str, Any]:
    """Image to report recall with one entry in the gallery for each group of equal reports.

    Without it, one report that a third of all studies share would fill the first ten places with itself.
    """
    corpus = embed_studies(encoder, studies, view=view, vocabulary="chexpert")
    task = next(task for task in pair_tasks(corpus, _RULES) if task.name == "image_to_report_distinct")
    found = _recall(task, corpus, encoder)
    return {
        "view": view or "all",
        "text": "findings + impression",
        "gallery": "one report per group of identical reports",
        "images": len(task.rows),
        "report_groups": len(task.columns),
        **{f"R@{k}": found[f"R@{k}"] for k in KS},
        "chance_R@10": found["chance_R@10"],
        "lift_R@10": round(found["R@10"] / found["chance_R@10"], 2),
    }


def measure_likeness(encoder: Encoder, studies: Sequence[Study], *, view: View | None) -> dict[str, Any]:
    """P@10 from image to image, macro average over heads of the indexing and over CheXpert heads, without normal."""
    scores: dict[str, Any] = {"view": view or "all"}
    vocabularies: tuple[Vocabulary, ...] = ("heads", "chexpert")
    for vocabulary in vocabularies:
        corpus = embed_studies(encoder, studies, view=view, vocabulary=vocabulary)
        task = image_to_image(corpus, Protocol(vocabulary=vocabulary, queries=_RULES.queries))
        if task is None:
            continue
        scores["images"] = len(corpus.images)
        precision, chance, findings = _precision(task, corpus, encoder)
        scores[vocabulary] = {
            "findings": {finding: corpus.counts[finding] for finding in sorted(set(findings))},
            "macro_P@10": round(precision, 4),
            "chance_macro_P@10": round(chance, 4),
            "lift": round(precision / chance, 2),
        }
    return scores


def measure_findings(
    encoder: Encoder, studies: Sequence[Study], prompts: dict[str, str], *, view: View | None
) -> dict[str, Any]:
    """P@10 of images for the `prompts` of findings (heads), normal included, macro average, with chance."""
    corpus = embed_studies(encoder, studies, view=view, vocabulary="heads")
    task = text_to_image(corpus, Protocol(vocabulary="heads", smallest=1))
    assert task is not None, "a labelled archive"
    queries = encoder.encode_texts([prompts[finding] for finding in task.findings])
    judged = judge(task, lambda numbers: queries[numbers] @ corpus.vectors.T, len(corpus.images))
    each = {task.findings[n]: place for place, n in enumerate(judged.numbers)}
    values, chance = judged.values["P@10"], judged.chance["P@10"]
    return {
        "view": view or "all",
        "images": len(corpus.images),
        "macro_P@10": round(float(values.mean()), 4),
        "chance_macro_P@10": round(float(chance.mean()), 4),
        "by_finding": {
            finding: {
                "prompt": prompts[finding],
                "P@10": round(float(values[each[finding]]), 4),
                "relevant": judged.relevant[each[finding]],
            }
            for finding in prompts
            if finding in each
        },
    }


def _recall(task: Task, corpus: Corpus, encoder: Encoder) -> dict[str, float]:
    judged = judge(task, model_scorer(task, corpus, encoder), len(task.columns))
    found = {f"R@{k}": round(float(judged.values[f"R@{k}"].mean()), 4) for k in KS}
    return found | {f"chance_R@{k}": round(float(judged.chance[f"R@{k}"].mean()), 4) for k in KS}


def _precision(task: Task, corpus: Corpus, encoder: Encoder) -> tuple[float, float, list[str]]:
    judged = judge(task, model_scorer(task, corpus, encoder), len(task.columns))
    findings = [task.findings[n] for n in judged.numbers]
    kept = np.array([finding != task.normal for finding in findings])
    abnormal = [finding for finding in findings if finding != task.normal]
    return (
        macro_mean(judged.values["P@10"][kept], abnormal),
        macro_mean(judged.chance["P@10"][kept], abnormal),
        abnormal,
    )
