"""What an archive holds: studies, their images and their report, and the ids they go by in an index."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from retrieval.errors import RetrievalError

View = Literal["frontal", "lateral", "unknown"]
Status = Literal["present", "uncertain", "absent"]

LIMIT_ID = 500
"""Characters of a study's or an image's id. Escaped in an address they take at most 6,000 bytes; proxies allow 8,000."""

# Any fixed namespace will do; it must never change, or every point id changes with it.
_POINT_NAMESPACE = uuid.UUID("6f1c2a52-3f0b-5a57-9a0e-6d1f6d0a7c11")


@dataclass(frozen=True, slots=True)
class Report:
    """The text of one report by section; a section that is absent is the empty string."""

    findings: str = ""
    impression: str = ""
    indication: str = ""
    comparison: str = ""

    @property
    def group(self) -> str:
        """Key shared by all reports that say the same in findings and impression, whatever case and spacing.

        16 hexadecimal digits; the empty string for a report without text.
        """
        words = " ".join(re.findall(r"[a-z0-9]+", f"{self.findings} {self.impression}".lower()))
        return hashlib.sha256(words.encode()).hexdigest()[:16] if words else ""


class StoredImage(Protocol):
    """An image that is no file of its own, as a cell of a Parquet table."""

    @property
    def location(self) -> str:
        """Where it lies: a file, and the place in it."""
        ...

    def read(self) -> bytes:
        """Its bytes. Raises RetrievalError if there are none."""
        ...


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image of a study: its id within the dataset, the file it lies in, its view.

    `file` is what the source calls the file; the empty string where that is the image id. `stored` reads an image that is
    only a part of the file at `path`.
    """

    image_id: str
    path: Path
    view: View = "unknown"
    file: str = ""
    stored: StoredImage | None = None

    @property
    def name(self) -> str:
        """What people are told, and the ledger remembers, of the file."""
        return self.file or self.image_id


@dataclass(frozen=True, slots=True)
class Study:
    """One study: its images, its report, and the terms it was indexed with (MeSH and Problems, raw strings).

    `date` is `YYYY-MM-DD`, or the empty string where it is not known or not to be kept. `statuses` are findings of label
    columns, each with `present`, `uncertain` or `absent`. `notes` are what a summary says of the study, without its data.
    """

    study_id: str
    dataset: str
    images: tuple[ImageRecord, ...]
    report: Report = Report()
    mesh: str = ""
    problems: str = ""
    date: str = ""
    statuses: tuple[tuple[str, Status], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A row or file that was quarantined, with the code and the words that say why.

    `file` is the `ImageRecord.name` it has, or would have had.
    """

    file: str
    code: str
    detail: str

    @classmethod
    def because(cls, file: str, error: RetrievalError) -> Quarantined:
        """Set `file` aside for `error`."""
        return cls(file=file, code=error.code, detail=str(error))


class Source(Protocol):
    """An archive that can be read study by study; what cannot be used comes out as `Quarantined`."""

    dataset: str

    def __iter__(self) -> Iterator[Study | Quarantined]: ...

    def image_count(self) -> int:
        """Images the source expects to yield, quarantined ones included (for progress)."""
        ...


@runtime_checkable
class Pseudonymous(Protocol):
    """A source whose ids are hashed with a salt."""

    salt_fingerprint: str
    """What tells one salt from another, see `archives.dicom.pseudonyms.fingerprint`."""


@runtime_checkable
class Walked(Protocol):
    """A source that takes whatever files a folder holds, so that an empty folder says that files are missing."""

    def empty_folders(self) -> frozenset[str]:
        """Folders without a file of the right type in them or below them, as their images' names would begin."""
        ...


def point_id(dataset: str, image_id: str) -> str:
    """The id of an image's point: the same image of the same dataset has the same id in every collection."""
    return str(uuid.uuid5(_POINT_NAMESPACE, f"{dataset}/{image_id}"))


def studies_of(records: Iterable[Study | Quarantined]) -> Iterator[Study]:
    """The studies among `records`."""
    return (record for record in records if isinstance(record, Study))
