"""Takes small files that a checkpoint lacks from the repository that the registry names for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from exporters.checkpoints.location import CheckpointFolder, fetch_files
from retrieval.errors import ExportError
from retrieval.model.bundle import BorrowedFiles


@dataclass(frozen=True, slots=True)
class Loan:
    """The folder of borrowed files, and what the manifest records of them."""

    location: CheckpointFolder
    record: BorrowedFiles


def borrow(location: CheckpointFolder, names: Sequence[str], what: str) -> Loan:
    """Those of the files `names` that the lender of `location` has.

    Raises:
        ExportError: the lender does not provide them, or `location` is a local folder and they are not in the cache.
    """
    lender = location.lender
    assert lender is not None
    remedy = (
        f"{location.folder} has no {what}; copy {', '.join(names)} from {lender.source} into a copy of the checkpoint"
    )
    try:
        folder = fetch_files(lender.source, tuple(names), lender.revision, offline=location.is_local)
    except ExportError as error:
        raise ExportError(f"{remedy} ({error})") from error
    found = tuple(name for name in names if (folder / name).is_file())
    if not found:
        raise ExportError(f"{remedy}; commit {lender.revision} of {lender.source} has none of them")
    revision = folder.name  # the hub's cache names a folder by its commit
    return Loan(
        CheckpointFolder(folder, lender.source, revision),
        BorrowedFiles(source=lender.source, revision=revision, files=found),
    )


def merge_borrowed(*records: BorrowedFiles | None) -> tuple[BorrowedFiles, ...]:
    """The records that are not None, with one for each repository and commit."""
    merged: dict[tuple[str, str | None], tuple[str, ...]] = {}
    for record in records:
        if record is not None:
            key = record.source, record.revision
            merged[key] = (*merged.get(key, ()), *record.files)
    return tuple(
        BorrowedFiles(source=source, revision=revision, files=files) for (source, revision), files in merged.items()
    )


def require_vocabulary(highest_id: int, rows: int, location: CheckpointFolder, lent: BorrowedFiles | None) -> None:
    """Refuse a tokenizer whose ids the text tower's embedding of `rows` rows does not have.

    A checkpoint's own vocabulary can be smaller than the embedding, as BiomedBERT's is; a borrowed one must fill it.

    Raises:
        ExportError: the vocabulary is too large, or it is borrowed and too small.
    """
    size = highest_id + 1
    if size > rows or (lent and size != rows):
        owner = f"borrowed from {lent.source}" if lent else f"of {location.folder}"
        raise ExportError(
            f"the tokenizer {owner} has {size:,} tokens, the text tower's embedding has {rows:,} rows: they belong to "
            "different models; copy the right tokenizer files into a copy of the checkpoint and pass --checkpoint DIR"
        )
