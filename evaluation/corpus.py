"""The images to evaluate with their vectors and labels: those of one split and view, ordered by id."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from evaluation.results import Data, Judge, Vocabulary
from retrieval.errors import InvalidRequest
from retrieval.index.filters import Filters
from retrieval.index.interface import Collection, Stored
from retrieval.index.schema import DENSE_VECTORS, TEXT_VECTORS
from retrieval.index.search_request import FloatArray
from retrieval.labels import CHEXPERT_14, NORMAL, read_report
from retrieval.records import View

NO_FINDING = {"chexpert": "No Finding", "heads": NORMAL}
"""The name of a study without findings, by vocabulary."""


@dataclass(frozen=True, slots=True)
class Image:
    """One image of the corpus.

    `findings` are its labels in the vocabulary of the protocol. `report_findings` are the labels of the report text, in both
    vocabularies. `report` is empty if there is no report.
    """

    id: str
    study: str
    dataset: str
    sha256: str
    group: str
    report: str
    findings: frozenset[str]
    report_findings: frozenset[str]


@dataclass(frozen=True, slots=True)
class Corpus:
    """Images ordered by id, their vectors (float32 [N, D], unit norm), and the source of the labels.

    A row of `reports` is NaN if the image has no report or the model has no text tower. `sections` holds the vectors of the
    index by name, with NaN where an image has none; it is empty without an index.
    """

    images: tuple[Image, ...]
    vectors: FloatArray
    reports: FloatArray
    judged_by: Judge
    sections: dict[str, FloatArray] = field(default_factory=dict)

    @property
    def studies(self) -> list[str]:
        """Study of each image, as `dataset/study_id`."""
        return [image.study for image in self.images]

    @property
    def has_report(self) -> NDArray[np.bool_]:
        """Whether each image has a report vector, bool [N]."""
        return np.asarray(~np.isnan(self.reports).any(axis=1), dtype=np.bool_)

    @property
    def counts(self) -> Counter[str]:
        """Number of studies by finding, most frequent first."""
        pairs = {(image.study, finding) for image in self.images for finding in image.findings}
        return Counter(dict(Counter(finding for _, finding in sorted(pairs)).most_common()))

    def describe(self, collection_images: int) -> Data:
        """The description of the data for the report; `collection_images` is the size of the whole collection."""
        lines = "\n".join(
            f"{image.id} {image.sha256} {image.group} {';'.join(sorted(image.findings))}" for image in self.images
        )
        return Data(
            fingerprint=hashlib.sha256(lines.encode()).hexdigest()[:16],
            datasets=sorted({image.dataset for image in self.images}),
            images=len(self.images),
            studies=len(set(self.studies)),
            report_groups=len({image.group for image in self.images if image.group}),
            unlabelled=sum(not image.findings for image in self.images),
            findings=dict(self.counts),
            collection_images=collection_images,
        )


def read_collection(
    collection: Collection, *, view: View | None, vocabulary: Vocabulary, studies: frozenset[str] | None = None
) -> Corpus:
    """The stored images of `view` (None: any view), restricted to `studies` if given.

    Raises:
        InvalidRequest: there is no such image.
    """
    wanted = Filters(view=view)
    points = [
        point
        for point in collection.scroll(wanted, limit=None, vectors=DENSE_VECTORS)
        if studies is None or point.payload["study_id"] in studies
    ]
    if not points:
        raise InvalidRequest(
            f"nothing to evaluate: the collection {collection.name} has no image of view {view or 'any'}"
            + (" in this split" if studies is not None else "")
        )
    points.sort(key=lambda point: point.point_id)
    judged_by = _label_source([point.payload for point in points])
    sections = {name: _vectors(points, name) for name in DENSE_VECTORS}
    return Corpus(
        images=tuple(_to_image(point, judged_by, vocabulary) for point in points),
        vectors=sections["image"],
        reports=_mean_direction([sections[name] for name in TEXT_VECTORS]),
        judged_by=judged_by,
        sections=sections,
    )


def _label_source(payloads: list[dict[str, object]]) -> Judge:
    """The source of the labels that decide what is relevant: the indexing, if any study of the collection has one."""
    if any(payload.get("from_indexing") for payload in payloads):
        return "indexing"
    return "text" if any(payload.get("from_text") for payload in payloads) else "present"


def _to_image(point: Stored, judged_by: Judge, vocabulary: Vocabulary) -> Image:
    payload = point.payload
    present = frozenset(payload["present"])
    if judged_by == "indexing":
        present &= frozenset(payload.get("from_indexing", ()))
    return Image(
        id=point.point_id,
        study=f"{payload['dataset']}/{payload['study_id']}",
        dataset=payload["dataset"],
        sha256=payload["image_sha256"],
        group=payload["report_group"],
        report=f"{payload['findings']} {payload['impression']}".strip(),
        findings=in_vocabulary(present, payload["problems"], vocabulary),
        report_findings=frozenset(read_report(payload["findings"], payload["impression"]).present),
    )


def in_vocabulary(present: frozenset[str], heads: Sequence[str], vocabulary: Vocabulary) -> frozenset[str]:
    """The findings of `present` that belong to the vocabulary; `heads` are the Indiana heads of the study."""
    return present & frozenset(CHEXPERT_14 if vocabulary == "chexpert" else heads)


def _vectors(points: Sequence[Stored], name: str) -> FloatArray:
    """A named vector of each point, float32 [N, D]; NaN if a point lacks it."""
    missing = np.full_like(points[0].vectors["image"], np.nan)
    return np.stack([point.vectors.get(name, missing) for point in points])


def _mean_direction(sections: Sequence[FloatArray]) -> FloatArray:
    """The mean of the sections that each image has, normalised; NaN if it has none."""
    stacked = np.stack(sections)
    known = ~np.isnan(stacked)
    total = np.where(known, stacked, 0).sum(axis=0)
    norm = np.linalg.norm(total, axis=1, keepdims=True)
    mean: FloatArray = np.divide(total, norm, out=np.full_like(total, np.nan), where=norm > 0)
    return mean
