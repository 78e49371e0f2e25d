"""The images of a source, one by one, each with its study and the labels of the study."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain

from ingest.labels.study import label_study, unread_text
from retrieval.labels import Labels, unknown_terms
from retrieval.records import LIMIT_ID, ImageRecord, Quarantined, Study, point_id, studies_of


@dataclass(frozen=True, slots=True)
class SourceImage:
    """One image to index, with its study, the labels of the study, and the study's terms that neither vocabulary has."""

    study: Study
    labels: Labels
    record: ImageRecord
    unknown_terms: tuple[str, ...] = ()

    @property
    def point_id(self) -> str:
        """The id of the image's point."""
        return point_id(self.study.dataset, self.record.image_id)


def read_images(
    source: Iterable[Study | Quarantined], names: frozenset[str] | None = None
) -> Iterator[SourceImage | Quarantined]:
    """The images of `source`, in its order.

    With `names` only the files with these names, and all other files with the image ids of these files.
    """
    ids = None if names is None else {image.image_id for image in _images(source) if image.name in names}
    for record in source:
        if isinstance(record, Quarantined):
            if names is None or record.file in names:
                yield record
            continue
        images = [image for image in record.images if ids is None or image.image_id in ids]
        if images:
            report = record.report
            labels = label_study(record.mesh, record.problems, report.findings, report.impression, record.statuses)
            unknown = unknown_terms(record.mesh, record.problems)
            study = replace(record, notes=(*record.notes, *unread_text(report.findings, report.impression)))
            yield from (_refuse_long_id(study, image) or SourceImage(study, labels, image, unknown) for image in images)


def _refuse_long_id(study: Study, image: ImageRecord) -> Quarantined | None:
    """The image as quarantined if an id is too long for a request; else None."""
    for what, found in (("study", study.study_id), ("image", image.image_id)):
        if len(found) > LIMIT_ID:
            detail = (
                f"the {what} id has {len(found):,} characters, at most {LIMIT_ID} are allowed; shorten it (without an id, "
                "an image and its study have the path of the file as id)"
            )
            return Quarantined(image.name, "id_too_long", detail)
    return None


def _images(source: Iterable[Study | Quarantined]) -> Iterator[ImageRecord]:
    return chain.from_iterable(study.images for study in studies_of(source))
