"""Changes training images and texts at random without changing their findings or laterality."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from exporters.finetune.data import StudyText, TrainingText
from exporters.finetune.settings import ImageAugmentation, TextAugmentation


def augment_images(images: Tensor, settings: ImageAugmentation, generator: torch.Generator) -> Tensor:
    """Changed copies of `images` (float [B, C, H, W], 0..1), in 0..1. Each image gets its own changes.

    `generator` is on the CPU whatever the device of `images`, so that a seed gives the same changes on all devices.
    """

    def draw(largest: float) -> Tensor:
        values = torch.rand(len(images), generator=generator) * 2 - 1
        return (values * largest).to(images.device)

    angle = draw(math.radians(settings.rotation_degrees))
    scale, aspect = 1 + draw(settings.scale), 1 + draw(settings.aspect)
    cos, sin = torch.cos(angle), torch.sin(angle)
    # affine_grid maps the result to the source in coordinates -1..1, so a shift is twice its share of the side.
    rows = (
        torch.stack([cos * scale * aspect, -sin * scale, draw(2 * settings.translation)], dim=1),
        torch.stack([sin * scale, cos * scale / aspect, draw(2 * settings.translation)], dim=1),
    )
    grid = F.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    changed = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)

    def per_image(values: Tensor) -> Tensor:
        return values.reshape(-1, 1, 1, 1)

    changed = changed.clamp_(1e-4, 1) ** per_image(1 + draw(settings.gamma))
    middle = changed.mean(dim=(1, 2, 3), keepdim=True)
    changed = (
        (changed - middle) * per_image(1 + draw(settings.contrast)) + middle + per_image(draw(settings.brightness))
    )
    if settings.noise:
        grain = torch.randn(changed.shape, generator=generator).to(images.device)
        changed = changed + grain * per_image(draw(settings.noise).abs())
    return changed.clamp_(0, 1)


def draw_text(text: StudyText, settings: TextAugmentation, rng: random.Random) -> TrainingText:
    """A training text for one study: the whole report, or a part of it with the probabilities in `settings`."""
    chances: list[tuple[float, Callable[[], TrainingText | None]]] = [
        (settings.subset, lambda: _some_sentences(text, settings.keep, rng)),
        (settings.impression, lambda: text.from_sentences(text.impression) if text.impression else None),
        (settings.sentence, lambda: text.from_sentences((rng.choice(text.sentences),))),
        (settings.terms, lambda: _some_terms(text, rng)),
    ]
    roll = rng.random()
    for share, draw in chances:
        if roll < share:
            return draw() or text.full_report
        roll -= share
    return text.full_report


def _some_sentences(text: StudyText, keep: float, rng: random.Random) -> TrainingText:
    kept = [sentence for sentence in text.sentences if rng.random() < keep] or [rng.choice(text.sentences)]
    rng.shuffle(kept)
    return text.from_sentences(tuple(kept))


def _some_terms(text: StudyText, rng: random.Random) -> TrainingText | None:
    if not text.terms:
        return None
    count = rng.choice((1, 1, 2)) if len(text.terms) > 1 else 1
    return text.from_terms(tuple(rng.sample(text.terms, count)))
