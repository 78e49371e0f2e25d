"""From the records of a source to the jobs of the worker: one for each file, each image id once in a pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain

from retrieval.labels import Labels, label_study, unknown_terms, unread_text
from retrieval.records import LIMIT_ID, ImageRecord, Quarantined, Study, point_id, studies_of


@dataclass(frozen=True, slots=True)
class SourceImage:
    """One file to be brought into the index, with its study, the labels of that, and its terms that no vocabulary has."""

    study: Study
    labels: Labels
    record: ImageRecord
    unknown_terms: tuple[str, ...] = ()

    @property
    def point_id(self) -> str:
        """The id of its point."""
        return point_id(self.study.dataset, self.record.image_id)


def read_images(
    source: Iterable[Study | Quarantined], only: frozenset[str] | None = None
) -> Iterator[SourceImage | Quarantined]:
    """The images of `source`, in order; with `only` those of these names, and every other file of the same image ids."""
    ids = None if only is None else {image.image_id for image in _images(source) if image.name in only}
    for record in source:
        if isinstance(record, Quarantined):
            if only is None or record.file in only:
                yield record
            continue
        images = [image for image in record.images if ids is None or image.image_id in ids]
        if images:
            report = record.report
            labels = label_study(record.mesh, record.problems, report.findings, report.impression, record.statuses)
            unknown = unknown_terms(record.mesh, record.problems)
            record = replace(record, notes=(*record.notes, *unread_text(report.findings, report.impression)))
            yield from (
                _refuse_long_id(record, image) or SourceImage(record, labels, image, unknown) for image in images
            )


def _refuse_long_id(study: Study, image: ImageRecord) -> Quarantined | None:
    """An image with an id that no request could name; None if it has none."""
    for what, found in (("study", study.study_id), ("image", image.image_id)):
        if len(found) > LIMIT_ID:
            detail = (
                f"the {what} id has {len(found):,} characters, at most {LIMIT_ID} are allowed; shorten it (an image "
                "without an id goes by the path of its file, and so does its study)"
            )
            return Quarantined(image.name, "id_too_long", detail)
    return None


def _images(source: Iterable[Study | Quarantined]) -> Iterator[ImageRecord]:
    return chain.from_iterable(study.images for study in studies_of(source))


# These say that the source has no such image: no row names the file, or no row can be believed.
_NOT_IN_SOURCE = frozenset({"unlisted_file", "conflicting_study"})


class SeenImages:
    """What a run has met of a source: for telling duplicates, and what the source no longer has.

    Of several files with one image id, the first that can be read is indexed. The others wait for a further pass, because
    only reading tells whether a file is good.
    """

    def __init__(self) -> None:
        self.names: set[str] = set()
        """Of what was quarantined: a file that cannot be read today is not gone from the source."""
        self._tried: dict[str, str] = {}  # name of the last file that was tried, by point
        self._failed: set[str] = set()
        self._waiting: list[SourceImage] = []

    def __contains__(self, point: str) -> bool:
        return point in self._tried

    def passes(self, jobs: Iterable[SourceImage | Quarantined]) -> Iterator[Iterator[SourceImage | Quarantined]]:
        """`jobs` in passes, each image id at most once in each; take the next when the outcomes of the last are known."""
        yield self._first_pass(jobs)
        while self._waiting:
            yield self._next_pass()

    def fail(self, job: SourceImage) -> None:
        """Note that the file of `job` cannot be used."""
        self._failed.add(job.point_id)

    def _first_pass(self, jobs: Iterable[SourceImage | Quarantined]) -> Iterator[SourceImage | Quarantined]:
        for job in jobs:
            if isinstance(job, Quarantined):
                if job.code not in _NOT_IN_SOURCE:
                    self.names.add(job.file)
                yield job
            elif job.point_id in self._tried:
                self._waiting.append(job)
            else:
                self._tried[job.point_id] = job.record.name
                yield job

    def _next_pass(self) -> Iterator[SourceImage | Quarantined]:
        jobs, self._waiting = self._waiting, []
        tried: set[str] = set()
        for job in jobs:
            point = job.point_id
            if point in tried:
                self._waiting.append(job)
            elif point in self._failed:
                self._failed.discard(point)
                self._tried[point] = job.record.name
                tried.add(point)
                yield job
            else:
                yield Quarantined(job.record.name, "duplicate_id", _duplicate(job.record, self._tried[point]))


def _duplicate(record: ImageRecord, used: str) -> str:
    if record.name == used:
        return f"{record.name} is listed more than once; the first entry is used"
    return f"{record.name} has the image id of {used}, which is used"
