"""Replacing files and folders in one step: a reader sees the old or the new content, never a part of it.

New content is written to a draft beside its target, which is then renamed. A draft is named
`.<name>.<process>.<number>.draft` and readable by its owner only, since it may hold reports. It is locked while it is
written: an unlocked draft was left by a killed process and can be removed. Drafts outside `CXR_HOME` are listed in
`<CXR_HOME>/drafts`, so that later runs and `cxr doctor` find them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import IO

import portalocker
import psutil

from retrieval.disk_space import translate_disk_full
from retrieval.file_permissions import NO_FOLLOW, make_private_folder, open_private

NOTES = "drafts"
"""Folder of a home that lists drafts elsewhere, one `.note` file for each."""

_DRAFT = ".draft"
_RETIRED = ".retired"
# A file name has at most 255 bytes; the additions take about 40, and a letter up to 4.
_NAME_LENGTH = 50
_numbers = count()


@contextmanager
def replace_file(path: Path, *, notes: Path | None = None, durable: bool = False) -> Iterator[IO[bytes]]:
    """A new file, open for writing and reading, that replaces `path` when the block ends; removed if the block raises.

    `notes` is the folder that lists drafts outside the home. `durable` writes the content to disk first, or a power
    failure could leave the new name without content.
    """
    make_private_folder(path.parent)
    draft = path.with_name(_name(path, _DRAFT))
    with translate_disk_full(path.parent, path.name), _listed(draft, notes), _create_locked(draft) as file:
        try:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
            _close_on_windows(file)
            os.replace(draft, path)
        except BaseException:
            _close_on_windows(file)
            draft.unlink(missing_ok=True)
            raise


@contextmanager
def replace_folder(target: Path, *, notes: Path | None = None) -> Iterator[Path]:
    """A new empty folder that replaces `target` when the block ends, and is removed if the block raises."""
    make_private_folder(target.parent)
    remove_abandoned_drafts(target.parent)
    draft = target.with_name(_name(target, _DRAFT))
    with translate_disk_full(target.parent, target.name), _listed(draft, notes), _created_locked(draft):
        try:
            yield draft
            _swap(draft, target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def temporary_folder(name: str, *, notes: Path | None) -> Iterator[Path]:
    """A folder in the system's temporary folder that is removed when the block ends."""
    folder = Path(tempfile.gettempdir()) / _name(Path(name), _DRAFT)
    with _listed(folder, notes), _created_locked(folder):
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned_drafts(folder: Path) -> None:
    """Remove from `folder` the drafts of killed processes."""
    for draft in _drafts_in(folder):
        _remove_if_abandoned(draft)


def find_drafts(target: Path) -> list[Path]:
    """All drafts of `target`, abandoned or not."""
    return [draft for draft in _drafts_in(target.parent) if _target_of(draft).name == target.name[:_NAME_LENGTH]]


def remove_noted_drafts(notes: Path) -> None:
    """Remove the drafts of killed processes that are listed in `notes`."""
    for note, draft in _abandoned_notes(notes):
        _remove_if_abandoned(draft)
        note.unlink(missing_ok=True)


def remove_folder(folder: Path) -> None:
    """Remove `folder`. It is renamed to a draft first, so that a later run completes an interrupted removal."""
    draft = folder.with_name(_name(folder, _DRAFT))
    os.replace(folder, draft)
    if draft.is_dir():
        shutil.rmtree(draft.resolve())
    if os.path.lexists(draft):  # a file, or a link whose target was removed
        draft.unlink()


def find_abandoned_drafts(folders: Iterable[Path], notes: Path) -> list[Path]:
    """Drafts of killed processes below `folders`, or listed in `notes`."""
    found = {draft for _, draft in _abandoned_notes(notes) if draft.exists()}
    for folder in folders:
        for parent, names, files in os.walk(folder):
            drafts = [Path(parent, name) for name in (*names, *files) if _is_draft(name)]
            names[:] = [name for name in names if not _is_draft(name)]
            found.update(draft for draft in drafts if _is_abandoned(draft))
    return sorted(found)


def _swap(draft: Path, target: Path) -> None:
    if not target.exists():
        os.replace(draft, target)
        return
    retired = target.with_name(_name(target, _RETIRED))
    with _locked(target):  # otherwise another process could restore it between the two steps
        os.replace(target, retired)
        os.replace(draft, target)
        shutil.rmtree(retired, ignore_errors=True)


def _name(path: Path, kind: str) -> str:
    return f".{path.name[:_NAME_LENGTH]}.{os.getpid()}.{next(_numbers)}{kind}"


def _target_of(draft: Path) -> Path:
    """The target of `draft`; a long name is truncated."""
    return draft.with_name(draft.name[1:].rsplit(".", 3)[0])


def _is_draft(name: str) -> bool:
    return name.startswith(".") and name.endswith((_DRAFT, _RETIRED))


def _drafts_in(folder: Path) -> list[Path]:
    try:
        return [folder / name for name in sorted(os.listdir(folder)) if _is_draft(name)]
    except OSError:
        return []


def _remove_if_abandoned(draft: Path) -> None:
    with contextlib.suppress(OSError, portalocker.LockException), _locked(draft) as abandoned:
        if not abandoned or not _is_draft(draft.name):
            return
        target = _target_of(draft)
        if draft.suffix == _RETIRED and not target.exists():  # killed before the new folder had its name
            os.replace(draft, target)
        elif draft.is_dir():
            shutil.rmtree(draft, ignore_errors=True)
        else:
            draft.unlink()


def _is_abandoned(draft: Path) -> bool:
    with contextlib.suppress(OSError), _locked(draft) as abandoned:
        return abandoned
    return False


def _abandoned_notes(notes: Path) -> Iterator[tuple[Path, Path]]:
    for note in sorted(notes.glob("*.note")):
        with contextlib.suppress(OSError), _locked(note) as abandoned:
            if abandoned:
                yield note, Path(os.fsdecode(note.read_bytes()))


@contextmanager
def _listed(draft: Path, notes: Path | None) -> Iterator[None]:
    """List `draft` in `notes` until the block ends. The note is locked like the draft: unlocked, its process has ended."""
    if notes is None:
        yield
        return
    note = notes / f"{uuid.uuid4().hex}.{os.getpid()}.0.note"
    with ExitStack() as held:
        try:
            make_private_folder(notes)
            remove_noted_drafts(notes)
            file = held.enter_context(_create_locked(note))
        except OSError:  # a read-only home has no list
            yield
            return
        file.write(os.fsencode(draft.absolute()))
        file.flush()
        try:
            yield
        finally:
            _close_on_windows(file)
            note.unlink(missing_ok=True)


def _create_locked(path: Path) -> IO[bytes]:
    while True:
        file = os.fdopen(open_private(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | NO_FOLLOW), "w+b")
        if sys.platform != "win32":
            portalocker.lock(file, portalocker.LOCK_EX)
        if path.exists():  # otherwise another process removed it before it was locked
            return file
        file.close()


@contextmanager
def _created_locked(folder: Path) -> Iterator[None]:
    shutil.rmtree(folder, ignore_errors=True)  # of an earlier process with the same id
    with ExitStack() as held:
        while not folder.exists():  # otherwise another process removed it before it was locked
            folder.mkdir(mode=0o700)
            held.enter_context(_locked(folder))
        yield


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Try to lock a file or folder until the block ends; gives whether it was free. A lock ends with its process.

    Windows has no locks on folders. There a draft is free if the process in its name has ended.
    """
    if sys.platform == "win32":
        yield not _has_owner(path)
        return
    handle = os.open(path, os.O_RDONLY | NO_FOLLOW)
    try:
        try:
            portalocker.lock(handle, portalocker.LOCK_EX | portalocker.LOCK_NB)
            free = True
        except (OSError, portalocker.LockException):
            free = False
        yield free
    finally:
        os.close(handle)


def _has_owner(path: Path) -> bool:
    """Whether the process in the name of a draft or note is running."""
    process = path.name.rsplit(".", 3)[1:2]
    return bool(process) and process[0].isdecimal() and psutil.pid_exists(int(process[0]))


def _close_on_windows(file: IO[bytes]) -> None:
    """Windows cannot rename or remove an open file. Elsewhere it stays open, since closing it would release the lock."""
    if sys.platform == "win32":
        file.close()
