"""The result of an ingest run."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from ingest.image_reader import IndexableImage
from retrieval.records import Quarantined


@dataclass(slots=True)
class IngestSummary:
    """The result of an ingest run. Counts are images.

    Attributes:
        indexed: Encoded and written.
        updated: Already in the index; report, labels or view were changed.
        unchanged: Already in the index as they are.
        pruned: Removed from the index.
        kept: Not found in the source and not removed; `messages` give the reasons.
        quarantined: Files and rows that could not be used.
        by_view: Images of the source that are in the index now, by view.
        by_finding: The same images by finding that is present.
        notes: Images by remark on how they were read.
        messages: Remarks on the run as a whole.
        unknown_terms: Images by label term that neither vocabulary has.
        unfinished: Other datasets of the collection with an interrupted ingest.
        incomplete: Why the collection is not complete and what to do; empty if it is complete.
        stages_s: Seconds by stage, added up over threads.
        seconds: Wall time.
    """

    model: str
    collection: str
    bundle_id: str
    indexed: int = 0
    updated: int = 0
    unchanged: int = 0
    pruned: int = 0
    kept: int = 0
    quarantined: list[Quarantined] = field(default_factory=list)
    by_view: Counter[str] = field(default_factory=Counter)
    by_finding: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    messages: list[str] = field(default_factory=list)
    unknown_terms: Counter[str] = field(default_factory=Counter)
    unfinished: list[str] = field(default_factory=list)
    incomplete: str = ""
    stages_s: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def usable(self) -> int:
        """Images of the source that are in the index."""
        return self.indexed + self.updated + self.unchanged

    @property
    def handled(self) -> int:
        """Images and rows that were read, quarantined ones included."""
        return self.usable + len(self.quarantined)

    @property
    def images_per_second(self) -> float:
        """Images of the source that are in the index, unchanged ones included, per second of wall time."""
        return self.usable / self.seconds if self.seconds else 0.0

    def count(self, batch: list[IndexableImage | Quarantined]) -> None:
        """Add a batch."""
        for image in batch:
            if isinstance(image, Quarantined):
                self.quarantined.append(image)
                continue
            if image.is_new:
                self.indexed += 1
            elif image.is_unchanged:
                self.unchanged += 1
            else:
                self.updated += 1
            self.by_view[image.payload.view] += 1
            self.by_finding.update(image.payload.present)
            self.notes.update((*image.row.notes, *image.notes))
            self.unknown_terms.update(image.unknown_terms)

    def to_dict(self) -> dict[str, Any]:
        """The document that `cxr ingest --json` prints."""
        return asdict(self) | {
            "by_view": dict(self.by_view.most_common()),
            "by_finding": dict(self.by_finding.most_common()),
            "notes": dict(self.notes.most_common()),
            "unknown_terms": dict(self.unknown_terms.most_common()),
            "seconds": round(self.seconds, 3),
            "images_per_second": round(self.images_per_second, 2),
        }

    def for_ledger(self) -> dict[str, Any]:
        """The document without unknown terms: they are table cells, which may hold anything if a column was mistaken."""
        document = self.to_dict()
        unknown = document.pop("unknown_terms")
        document["by_finding"] = {name: count for name, count in document["by_finding"].items() if name not in unknown}
        return document
