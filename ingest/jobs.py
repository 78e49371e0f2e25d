"""From the records of a source to the jobs of the worker: one for each image, each image once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from retrieval.labels import Labels, label_study
from retrieval.records import ImageRecord, Quarantined, Study, point_id


@dataclass(frozen=True, slots=True)
class Job:
    """One image to be brought into the index, with its study and the labels of that."""

    study: Study
    labels: Labels
    record: ImageRecord

    @property
    def point_id(self) -> str:
        """The id of its point."""
        return point_id(self.study.dataset, self.record.image_id)


def read_jobs(source: Iterable[Study | Quarantined], only: frozenset[str] | None = None) -> Iterator[Job | Quarantined]:
    """The images of `source`, or those among them whose names are in `only`, in order."""
    for record in source:
        if isinstance(record, Quarantined):
            if only is None or record.file in only:
                yield record
            continue
        labels = label_study(record.mesh, record.problems, record.report.findings, record.report.impression)
        for image in record.images:
            if only is None or image.name in only:
                yield Job(record, labels, image)


class Seen:
    """What a run has met of a source: for telling duplicates, and what the source no longer has."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        """Of what was set aside: a file that cannot be read today is not gone from the source."""
        self._points: set[str] = set()

    def __contains__(self, point: str) -> bool:
        return point in self._points

    def once(self, jobs: Iterable[Job | Quarantined]) -> Iterator[Job | Quarantined]:
        """`jobs`, each image id once; a second one is set aside as `duplicate_id`."""
        for job in jobs:
            if isinstance(job, Quarantined):
                if job.code != "unlisted_file":  # which says that the source no longer has the image
                    self.names.add(job.file)
                yield job
            elif job.point_id in self._points:
                detail = f"the image id {job.record.image_id} stands for more than one image; the first is used"
                yield Quarantined(job.record.name, "duplicate_id", detail)
            else:
                self._points.add(job.point_id)
                yield job
