"""Measures how well a model in training retrieves pairs that it was not trained on."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from evaluation.measures import chance_recall_at, recall_at, same_label
from exporters.finetune.data import PairSet
from exporters.finetune.towers import TrainableModel, embed_pairs


class Validation(msgspec.Struct, frozen=True, kw_only=True):
    """Retrieval over all validation pairs, image to report and report to image; recalls are 0..1.

    Only the image's own study is relevant; in the `grouped` figures every report of the same report group is. The gallery
    has one report per study and every image.
    """

    images: int
    reports: int
    image_to_report_r10: float
    report_to_image_r10: float
    image_to_report_r10_grouped: float
    report_to_image_r10_grouped: float
    chance_image_to_report_r10: float
    chance_image_to_report_r10_grouped: float

    @property
    def score(self) -> float:
        """Criterion for the best checkpoint: grouped R@10, mean of both directions."""
        return (self.image_to_report_r10_grouped + self.report_to_image_r10_grouped) / 2


def validate(model: TrainableModel, pairs: PairSet) -> Validation:
    """Measure `model` on `pairs`. A model that gives NaN scores 0."""
    owners = sorted(set(pairs.study.tolist()))
    texts = [pairs.texts[owner] for owner in owners]
    image_embeds, text_embeds = embed_pairs(model, pairs.images, [text.full_report.text for text in texts])
    similarity = image_embeds @ text_embeds.T
    strict = same_label(pairs.study.tolist(), owners)
    grouped = same_label(pairs.image_groups, [text.report_group for text in texts])

    broken = not np.isfinite(similarity).all()

    def recall(similarity: NDArray[np.float32], relevant: NDArray[np.bool_]) -> float:
        return 0.0 if broken else recall_at(similarity, relevant, 10)

    return Validation(
        images=len(pairs),
        reports=len(texts),
        image_to_report_r10=recall(similarity, strict),
        report_to_image_r10=recall(similarity.T, strict.T),
        image_to_report_r10_grouped=recall(similarity, grouped),
        report_to_image_r10_grouped=recall(similarity.T, grouped.T),
        chance_image_to_report_r10=chance_recall_at(strict, 10),
        chance_image_to_report_r10_grouped=chance_recall_at(grouped, 10),
    )
