"""The mode of an ingest run: the images that it reads, and the points that it may remove."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from archives.source_part import SourcePart
from ingest.ledger import RETRY
from retrieval.errors import InvalidRequest
from retrieval.index.completeness import ingest_job
from retrieval.records import Source

ConfirmPrune = Callable[[int, int], bool]
"""Asked before a prune, with the images to remove and the images of the dataset; the answer decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMode:
    """One of four modes: a full run (the default), a full run with prune, a part of a shared ingest, a retry.

    Attributes:
        part: (i, n) reads part i of n, as one of several processes that share an ingest.
        retry: Reads only files with these names (`ImageRecord.name`).
        prune: Removes the images that the source no longer has, if this function agrees.
        allow_shrink: Prunes without the safeguards of `ingest.prune.find_gone`; an empty source is no error then.
        recreate: Drops the collection first.
    """

    part: tuple[int, int] | None = None
    retry: frozenset[str] | None = None
    prune: ConfirmPrune | None = None
    allow_shrink: bool = False
    recreate: bool = False

    def __post_init__(self) -> None:
        """Refuse combinations that would lose data.

        Raises:
            InvalidRequest: prune or recreate with a part, or prune with a retry.
        """
        if self.prune and (self.is_part or self.retry is not None):
            raise InvalidRequest("a prune needs a run over the whole source; run it without a part and without a retry")
        if self.recreate and self.is_part:
            raise InvalidRequest(
                "a part cannot recreate the collection: each part would drop the images of the others; drop the collection "
                "before the first part"
            )

    @property
    def is_part(self) -> bool:
        """Whether the run reads a part of the source; part 1 of 1 is the whole source."""
        return self.part not in (None, (1, 1))

    @property
    def parts(self) -> int:
        """The number of parts that the source is divided into."""
        return self.part[1] if self.part else 1

    @property
    def name(self) -> str:
        """The name of the mode in the ledger: `1/1` for a full run, `2/8` for a part, `retry`."""
        if self.retry is not None:
            return RETRY
        return "{}/{}".format(*self.part) if self.part else SourcePart.WHOLE

    @property
    def ends_ingest(self) -> bool:
        """Whether the collection can be complete after the run; after a part, `Worker.finish` completes it."""
        return not self.is_part

    @property
    def may_empty_dataset(self) -> bool:
        """Whether an empty source is allowed."""
        return self.prune is not None and self.allow_shrink

    def select(self, source: Source) -> Source:
        """The part of `source` that the run reads; a retry selects its files later, see `read_images`.

        Raises:
            InvalidRequest: there is no such part.
        """
        return SourcePart(source, *self.part) if self.part else source

    def job(self, dataset: str) -> str | None:
        """The pending job that the run ends; None for a retry, which cannot end an interrupted ingest."""
        return ingest_job(dataset) if self.retry is None else None
