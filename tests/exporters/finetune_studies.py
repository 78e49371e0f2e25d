"""Tiny studies whose report describes the image: a bright disc in one of four corners, or none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from exporters.finetune.settings import FinetuneSettings, make_settings
from retrieval.records import ImageRecord, Report, Study

_PLACES = {
    "right upper lobe": (10, 10),
    "left upper lobe": (10, 22),
    "right lower lobe": (22, 10),
    "left lower lobe": (22, 22),
}

OPEN_CLIP = {
    "family": "open_clip",
    "vocabulary_size": 120,
    "model": {
        "embed_dim": 32,
        "init_logit_bias": -2.0,
        "vision_cfg": {"layers": [1, 1, 1, 1], "width": 8, "head_width": 64, "image_size": 32},
        "text_cfg": {"context_length": 24, "width": 32, "heads": 2, "layers": 1},
    },
    "preprocessing": {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bicubic", "resize_mode": "squash"},
}
SIGLIP = {
    "family": "siglip",
    "vocabulary_size": 120,
    "model": {
        "text_config": {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "max_position_embeddings": 24,
        },
        "vision_config": {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 8,
        },
    },
}
ARCHITECTURES = {"open_clip": OPEN_CLIP, "siglip": SIGLIP}


def draw_studies(folder: Path, count: int, *, seed: int = 0) -> list[Study]:
    """`count` studies with one frontal image each. The number of a study sets its nodule and report."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    studies = []
    for number in range(count):
        pixels = rng.normal(70, 8, (32, 32))
        kind = number % (len(_PLACES) + 1)
        if kind == len(_PLACES):
            report, problems = Report("The lungs are clear. Heart size is normal.", "Normal chest."), "normal"
        else:
            place, (top, left) = list(_PLACES.items())[kind]
            rows, columns = np.ogrid[:32, :32]
            pixels[(rows - top) ** 2 + (columns - left) ** 2 < 20] = 220
            findings = f"There is a nodule in the {place}. Heart size is normal."
            report, problems = Report(findings, f"{number // 5}. Nodule, {place}."), "Nodule"
        path = folder / f"{number}.png"
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
        image = ImageRecord(path.name, path, "frontal")
        studies.append(Study(str(number), "discs", (image,), report, problems=problems))
    return studies


def tiny_settings(family: str = "open_clip", **changes: object) -> FinetuneSettings:
    """Settings of a run of about two seconds."""
    fields = {
        "architecture": ARCHITECTURES[family],
        "epochs": 3,
        "batch_size": 20,
        "learning_rate": 2e-3,
        "precision": "fp32",
        "device": "cpu",
        "patience": 50,
        "seed": 3,
        "threads": 1,
    }
    return make_settings({name: value for name, value in {**fields, **changes}.items() if value is not None})
