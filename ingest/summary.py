"""What an ingest did."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from ingest.image_reader import PreparedImage
from retrieval.records import Quarantined


@dataclass(slots=True)
class IngestSummary:
    """What an ingest did. `by_view` and `by_finding` count the images of the source that are in the index afterwards.

    `notes` count images by what is to be said of them, `unknown_terms` by label terms that neither vocabulary has.
    `indexed` were encoded, of `updated` only report, labels or view had changed, `pruned` were removed from the index.
    `kept` were not found in the source and not removed; `messages` say why, and what else there is to know of the run.
    `unfinished` are other datasets of the collection whose ingest was cut off; `incomplete` says why the collection is not
    complete, and what to do, or is empty. `stages_s` are seconds by stage, added up over threads.
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
        """Images and rows dealt with, quarantined ones included."""
        return self.usable + len(self.quarantined)

    @property
    def images_per_second(self) -> float:
        """Images in the index afterwards, unchanged ones included, over wall time."""
        return self.usable / self.seconds if self.seconds else 0.0

    def count(self, items: list[PreparedImage | Quarantined]) -> None:
        """Add one batch."""
        for item in items:
            if isinstance(item, Quarantined):
                self.quarantined.append(item)
                continue
            if item.is_new:
                self.indexed += 1
            elif item.is_unchanged:
                self.unchanged += 1
            else:
                self.updated += 1
            self.by_view[item.payload.view] += 1
            self.by_finding.update(item.payload.present)
            self.notes.update((*item.row.notes, *item.notes))
            self.unknown_terms.update(item.unknown_terms)

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
