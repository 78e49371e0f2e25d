"""The images that a run met in a source: finds duplicate ids, and tells which images the source no longer has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ingest.source_images import SourceImage
from retrieval.records import ImageRecord, Quarantined

# With these codes the source does not have the image: no row names the file, or the rows contradict each other.
_NOT_IN_SOURCE = frozenset({"unlisted_file", "conflicting_study"})


class SeenImages:
    """The images that a run met, in passes with each image id at most once.

    If several files have one image id, the first readable file is indexed. Only reading shows whether a file is readable,
    so the other files wait for a further pass.

    Attributes:
        quarantined_names: Names of quarantined files. They are still in the source, only not readable today.
    """

    def __init__(self) -> None:
        self.quarantined_names: set[str] = set()
        self._tried: dict[str, str] = {}  # point id -> name of the file that was tried last
        self._failed: set[str] = set()
        self._waiting: list[SourceImage] = []

    def __contains__(self, point: str) -> bool:
        return point in self._tried

    def passes(self, images: Iterable[SourceImage | Quarantined]) -> Iterator[Iterator[SourceImage | Quarantined]]:
        """`images` in passes with each image id at most once. Take the next pass after the last one was read."""
        yield self._first_pass(images)
        while self._waiting:
            yield self._next_pass()

    def add_failure(self, image: SourceImage) -> None:
        """Note that the file of `image` was quarantined."""
        self._failed.add(image.point_id)

    def _first_pass(self, images: Iterable[SourceImage | Quarantined]) -> Iterator[SourceImage | Quarantined]:
        for image in images:
            if isinstance(image, Quarantined):
                if image.code not in _NOT_IN_SOURCE:
                    self.quarantined_names.add(image.file)
                yield image
            elif image.point_id in self._tried:
                self._waiting.append(image)
            else:
                self._tried[image.point_id] = image.record.name
                yield image

    def _next_pass(self) -> Iterator[SourceImage | Quarantined]:
        images, self._waiting = self._waiting, []
        tried: set[str] = set()
        for image in images:
            point = image.point_id
            if point in tried:
                self._waiting.append(image)
            elif point in self._failed:
                self._failed.discard(point)
                self._tried[point] = image.record.name
                tried.add(point)
                yield image
            else:
                yield Quarantined(
                    image.record.name, "duplicate_id", _describe_duplicate(image.record, self._tried[point])
                )


def _describe_duplicate(record: ImageRecord, used: str) -> str:
    if record.name == used:
        return f"{record.name} is listed more than once; the first entry is used"
    return f"{record.name} has the same image id as {used}, which is used"
