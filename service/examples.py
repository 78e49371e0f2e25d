"""Examples for the OpenAPI document, all invented."""

from __future__ import annotations

from typing import Any

from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example

_REPORT = {
    "findings": "The cardiac silhouette is enlarged. Small left pleural effusion. No pneumothorax.",
    "impression": "Cardiomegaly with small left pleural effusion.",
    "indication": "Shortness of breath.",
    "comparison": "None.",
}
_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_LABELS = {
    "present": ["Cardiomegaly", "Pleural Effusion"],
    "uncertain": [],
    "problems": ["Cardiomegaly", "Pleural Effusion"],
    "mesh": ["Cardiomegaly/mild", "Pleural Effusion/left/small"],
}

TEXT_QUERY_EXAMPLE = Example(
    summary="Frontal cases with cardiomegaly and without pneumothorax",
    value={
        "text": "cardiomegaly with pleural effusion",
        "filters": {"all": ["Cardiomegaly"], "none": ["Pneumothorax"], "view": "frontal"},
        "k": 5,
    },
)

SEARCH_EXAMPLE: dict[str, Any] = {
    "model": "phantom-siglip",
    "collection": "cxr_phantom-siglip",
    "bundle_id": "3f9a2c417be05d68",
    "interpreted": {
        "filters": {"all": ["Cardiomegaly"], "none": ["Pneumothorax"], "view": "frontal"},
        "weights": {"image": 0.4, "findings": 0.3333, "impression": 0.2667},
        "rerank": "signals",
        "asked": ["Cardiomegaly", "Pleural Effusion"],
        "denied": [],
    },
    "hits": [
        {
            "score": 0.81,
            "parts": {"image": 0.33, "findings": 0.27, "impression": 0.21},
            "signals": {"image": 0.31, "findings": 0.74, "impression": 0.78},
            "study_id": "phantom-000042",
            "image_id": "phantom-000042-frontal.png",
            "view": "frontal",
            "dataset": "phantom",
            **_LABELS,
            "report": _REPORT,
            "image_sha256": _SHA256,
        }
    ],
    "timings_ms": {"encode": 11.2, "search": 2.4},
}

STUDY_EXAMPLE: dict[str, Any] = {
    "study_id": "phantom-000042",
    "dataset": "phantom",
    "images": [{"image_id": "phantom-000042-frontal.png", "view": "frontal", "image_sha256": _SHA256}],
    **_LABELS,
    "absent": ["Pneumothorax"],
    "report": _REPORT,
}

MODEL_EXAMPLE: dict[str, Any] = {
    "key": "phantom-siglip",
    "installed": True,
    "active": True,
    "collection": "cxr_phantom-siglip",
    "bundle_id": "3f9a2c417be05d68",
    "family": "siglip",
    "dim": 128,
    "image_size": 112,
    "precision": "fp32",
    "licence": "Apache-2.0",
    "size_bytes": 5_600_000,
    "images": 1_200,
    "complete": True,
}


def answer_examples(document: type, description: str, value: dict[str, Any]) -> dict[int, ResponseSpec]:
    """OpenAPI's description of a good answer, with an example of it."""
    example = Example(id="example", summary="Example", value=value)
    return {
        200: ResponseSpec(document, generate_examples=False, description=description, examples=[example]),
    }
