"""A corpus of evaluation, encoded from an archive without an index."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evaluation.corpus import Corpus, Image, in_vocabulary
from evaluation.results import Vocabulary
from ingest.labels.study import label_study
from retrieval.errors import InvalidRequest
from retrieval.imaging.decoder_pool import read_image
from retrieval.labels import read_report
from retrieval.model.bundle import sha256_of
from retrieval.model.encoder import Encoder
from retrieval.records import Study, View, point_id

_BATCH = 32


def embed_studies(encoder: Encoder, studies: Sequence[Study], *, view: View | None, vocabulary: Vocabulary) -> Corpus:
    """The images of an archive, encoded without an index; the report of a study is encoded as one text.

    Raises:
        InvalidRequest: the archive has no image of `view`.
    """
    pairs = [(study, image) for study in studies for image in study.images if view in (None, image.view)]
    if not pairs:
        raise InvalidRequest(f"nothing to evaluate: the archive has no image of view {view or 'any'}")
    pairs.sort(key=lambda pair: point_id(pair[0].dataset, pair[1].image_id))
    batches = [pairs[start : start + _BATCH] for start in range(0, len(pairs), _BATCH)]
    vectors = np.concatenate(
        [encoder.encode_images([read_image(image.path)[0] for _, image in batch]) for batch in batches]
    )
    texts = [f"{study.report.findings} {study.report.impression}".strip() for study, _ in pairs]
    unique = [text for text in dict.fromkeys(texts) if text]
    known = dict(zip(unique, encoder.encode_texts(unique), strict=True)) if encoder.bundle.has_text else {}
    missing = np.full(encoder.dim, np.nan, dtype=np.float32)
    images = []
    for (study, image), text in zip(pairs, texts, strict=True):
        labels = label_study(study.mesh, study.problems, study.report.findings, study.report.impression, study.statuses)
        images.append(
            Image(
                id=point_id(study.dataset, image.image_id),
                study=f"{study.dataset}/{study.study_id}",
                dataset=study.dataset,
                sha256=sha256_of(image.path),
                group=study.report.group,
                report=text,
                findings=in_vocabulary(
                    frozenset(labels.present) & frozenset(labels.from_indexing), labels.problems, vocabulary
                ),
                report_findings=frozenset(read_report(study.report.findings, study.report.impression).present),
            )
        )
    return Corpus(tuple(images), vectors, np.stack([known.get(text, missing) for text in texts]), "indexing")
