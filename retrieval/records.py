"""Records of an archive: studies with their images and reports, and their ids in an index."""

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
"""Longest id of a study or image, in characters. Escaped in a URL it has at most 6,000 bytes; proxies allow 8,000."""

# An arbitrary namespace; it must never change, since all point ids depend on it.
_POINT_NAMESPACE = uuid.UUID("6f1c2a52-3f0b-5a57-9a0e-6d1f6d0a7c11")


@dataclass(frozen=True, slots=True)
class Report:
    """The text of a report by section; the empty string for a section that it lacks."""

    findings: str = ""
    impression: str = ""
    indication: str = ""
    comparison: str = ""

    @property
    def group(self) -> str:
        """Key of all reports with equal findings and impression, apart from case, punctuation and spacing.

        16 hexadecimal digits; the empty string for a report without text.
        """
        words = " ".join(re.findall(r"[a-z0-9]+", f"{self.findings} {self.impression}".lower()))
        return hashlib.sha256(words.encode()).hexdigest()[:16] if words else ""


class StoredImage(Protocol):
    """An image that is a part of a file, such as a cell of a Parquet table."""

    @property
    def location(self) -> str:
        """The file, and the position in it."""
        ...

    def read(self) -> bytes:
        """The bytes of the image. Raises RetrievalError if it is missing."""
        ...


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image of a study: its id within the dataset, its file, its view.

    `file` is the source's name of the file; the empty string if that is the image id. `stored` reads an image that is a
    part of the file at `path`.
    """

    image_id: str
    path: Path
    view: View = "unknown"
    file: str = ""
    stored: StoredImage | None = None

    @property
    def name(self) -> str:
        """The name of the file in messages and in the ledger."""
        return self.file or self.image_id


@dataclass(frozen=True, slots=True)
class Study:
    """One study: its images, its report, and its indexing terms (MeSH and Problems, raw strings).

    `date` is `YYYY-MM-DD`, or the empty string if it is unknown or must not be stored. `statuses` are findings of label
    columns, each with `present`, `uncertain` or `absent`. `notes` are remarks for a summary; they contain no patient data.
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
    """A quarantined row or file, with the code and the message of the reason.

    `file` is its `ImageRecord.name`, or the name that it would have had.
    """

    file: str
    code: str
    detail: str

    @classmethod
    def because(cls, file: str, error: RetrievalError) -> Quarantined:
        """The record for `file`, quarantined because of `error`."""
        return cls(file=file, code=error.code, detail=str(error))


class Source(Protocol):
    """An archive that is read study by study; unusable rows and files are given as `Quarantined`."""

    dataset: str

    def __iter__(self) -> Iterator[Study | Quarantined]: ...

    def image_count(self) -> int:
        """Number of images that the source expects, quarantined ones included (for progress)."""
        ...


@runtime_checkable
class Pseudonymous(Protocol):
    """A source whose ids are hashed with a salt."""

    salt_fingerprint: str
    """Fingerprint of the salt, see `archives.dicom.pseudonyms.fingerprint`."""


@runtime_checkable
class Walked(Protocol):
    """A source that reads all files of a folder, so that an empty folder means missing files."""

    def empty_folders(self) -> frozenset[str]:
        """Folders without a file of the right type in or below them, as prefixes of the names of their images."""
        ...


def point_id(dataset: str, image_id: str) -> str:
    """The id of the point of an image; equal for the same image and dataset in every collection."""
    return str(uuid.uuid5(_POINT_NAMESPACE, f"{dataset}/{image_id}"))


def studies_of(records: Iterable[Study | Quarantined]) -> Iterator[Study]:
    """The studies among `records`."""
    return (record for record in records if isinstance(record, Study))
