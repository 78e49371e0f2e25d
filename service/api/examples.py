"""Examples for the OpenAPI document. All are invented."""

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
    "absent": ["Pneumothorax"],
    "qualified": ["Cardiomegaly/mild", "Pleural Effusion/left", "Pleural Effusion/small"],
    "from_indexing": ["Cardiomegaly", "Pleural Effusion"],
    "from_text": ["Cardiomegaly", "Pleural Effusion", "Pneumothorax"],
    "problems": ["Cardiomegaly", "Pleural Effusion"],
    "mesh": ["Cardiomegaly", "Cardiomegaly/mild", "Pleural Effusion", "Pleural Effusion/left"],
}

TEXT_QUERY_EXAMPLE = Example(
    summary="Frontal cases with cardiomegaly and without pneumothorax",
    value={
        "text": "cardiomegaly with pleural effusion",
        "filters": {"all": ["Cardiomegaly"], "none": ["Pneumothorax"], "view": "frontal"},
        "k": 5,
    },
)

QUERY_EXAMPLES = [
    Example(
        summary="Text, filters, one hit per study, and counts",
        value={
            "text": "cardiomegaly with pleural effusion",
            "filters": {"all": ["Cardiomegaly"], "none": ["Pneumothorax"], "view": "frontal"},
            "collapse": "study",
            "facets": ["view"],
            "k": 5,
        },
    ),
    Example(
        summary="Similar to one stored study and unlike another, on the left side",
        value={
            "study": {"study_id": "phantom-000042"},
            "unlike": [{"study_id": "phantom-000077"}],
            "filters": {"sides": ["left"]},
            "rerank": {"image": 0.5, "findings": 0.5},
        },
    ),
]

BATCH_QUERY_EXAMPLE = Example(
    summary="Two descriptions",
    value={"queries": [{"text": "small left pleural effusion", "k": 5}, {"text": "hiatal hernia", "match": "hybrid"}]},
)

FACET_QUERY_EXAMPLE = Example(
    summary="Findings and views of the frontal images with an effusion",
    value={"fields": ["present", "view"], "filters": {"all": ["Pleural Effusion"]}},
)

SEARCH_EXAMPLE: dict[str, Any] = {
    "model": "phantom-siglip",
    "collection": "cxr_phantom-siglip",
    "bundle_id": "3f9a2c417be05d68",
    "interpreted": {
        "filters": {"all": ["Cardiomegaly"], "none": ["Pneumothorax"], "view": "frontal"},
        "weights": {"image": 0.4, "findings": 0.3333, "impression": 0.2667},
        "rerank": "signals",
        "match": "dense",
        "candidates": 100,
        "diversity": 0.0,
        "collapse": "study",
        "interpret": True,
        "asked": ["Cardiomegaly", "Pleural Effusion"],
        "denied": [],
        "unread": [],
        "english": True,
    },
    "hits": [
        {
            "study_id": "phantom-000042",
            "image_id": "phantom-000042-frontal.png",
            "dataset": "phantom",
            "view": "frontal",
            "score": 0.81,
            "parts": {"image": 0.33, "findings": 0.27, "impression": 0.21},
            "signals": {"image": 0.31, "findings": 0.74, "impression": 0.78},
            "percentiles": {"image": 98.7, "findings": 99.6, "impression": 99.8},
            "collapsed_count": 1,
            **_LABELS,
            "report": _REPORT,
            "study_date": "",
            "image_sha256": _SHA256,
        }
    ],
    "timings_ms": {"encode": 11.2, "fetch": 0.0, "search": 2.4, "rerank": 0.1, "facets": 0.3},
    "facets": {"view": {"frontal": 118}},
    "search_id": "5f1c6a0e9d3b4c2f8a7e6d5c4b3a2910",
    "experiment": None,
}

BATCH_EXAMPLE: dict[str, Any] = {"results": [SEARCH_EXAMPLE]}

FACETS_EXAMPLE: dict[str, Any] = {
    "model": "phantom-siglip",
    "facets": {"present": {"Cardiomegaly": 97, "Pleural Effusion": 81}, "view": {"frontal": 118, "lateral": 60}},
}

STUDY_EXAMPLE: dict[str, Any] = {
    "study_id": "phantom-000042",
    "dataset": "phantom",
    "images": [{"image_id": "phantom-000042-frontal.png", "view": "frontal", "image_sha256": _SHA256}],
    **_LABELS,
    "report": _REPORT,
    "study_date": "",
}

FEEDBACK_EXAMPLE: dict[str, Any] = {
    "search_id": "5f1c6a0e9d3b4c2f8a7e6d5c4b3a2910",
    "dataset": "phantom",
    "study_id": "phantom-000042",
    "image_id": "phantom-000042-frontal.png",
    "kind": "relevant",
}

FEEDBACK_QUERY_EXAMPLE = Example(summary="The first hit is relevant", value=FEEDBACK_EXAMPLE)

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
    "damaged": None,
}


def answer_examples(document: type, description: str, value: dict[str, Any]) -> dict[int, ResponseSpec]:
    """The OpenAPI description of status 200, with an example."""
    example = Example(id="example", summary="Example", value=value)
    return {
        200: ResponseSpec(document, generate_examples=False, description=description, examples=[example]),
    }
