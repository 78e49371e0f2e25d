"""Files and folders that are written aside and take their place in one step, so that no reader meets half of one.

A draft is readable by its owner only, since it may hold reports. It is named `.<name>.<process>.<number>.draft`, lies
beside its target and is locked while it is written: one that is not locked was left by a killed process and is swept.
A draft outside `CXR_HOME` is noted in `<CXR_HOME>/drafts`, so that later runs and `cxr doctor` find it wherever it is.
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
"""Folder of a home that notes drafts elsewhere."""

_DRAFT = ".draft"
_RETIRED = ".retired"
# A file name has at most 255 bytes; what is added takes some 40, and a letter up to 4.
_NAME_LENGTH = 50
_numbers = count()


@contextmanager
def replace_file(path: Path, *, notes: Path | None = None) -> Iterator[IO[bytes]]:
    """A file, to write and to read back, that takes the place of `path` when the block ends, and vanishes when it raises.

    `notes` is the folder in which a draft outside the home is noted.
    """
    make_private_folder(path.parent)
    draft = path.with_name(_name(path, _DRAFT))
    with translate_disk_full(path.parent, path.name), _noted(draft, notes), _open_locked(draft) as file:
        try:
            yield file
            file.flush()
            _close_on_windows(file)
            os.replace(draft, path)
        except BaseException:
            _close_on_windows(file)
            draft.unlink(missing_ok=True)
            raise


@contextmanager
def replace_folder(target: Path, *, notes: Path | None = None) -> Iterator[Path]:
    """An empty folder that takes the place of `target` when the block ends, and vanishes when it raises."""
    make_private_folder(target.parent)
    remove_abandoned_drafts(target.parent)
    draft = target.with_name(_name(target, _DRAFT))
    with translate_disk_full(target.parent, target.name), _noted(draft, notes), _made_locked(draft):
        try:
            yield draft
            _put_in_place(draft, target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def temporary_folder(name: str, *, notes: Path | None) -> Iterator[Path]:
    """A folder in the system's temporary one that vanishes when the block ends."""
    folder = Path(tempfile.gettempdir()) / _name(Path(name), _DRAFT)
    with _noted(folder, notes), _made_locked(folder):
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned_drafts(folder: Path) -> None:
    """Remove from `folder` the drafts of processes that were killed; those that are being written are locked."""
    for left in _drafts_in(folder):
        _sweep(left)


def find_drafts(target: Path) -> list[Path]:
    """The drafts of `target`, those of killed processes and those that are being written."""
    return [draft for draft in _drafts_in(target.parent) if _target_of(draft).name == target.name[:_NAME_LENGTH]]


def remove_noted_drafts(notes: Path) -> None:
    """Remove the noted drafts of processes that were killed."""
    for note, draft in _abandoned_notes(notes):
        _sweep(draft)
        note.unlink(missing_ok=True)


def remove_folder(folder: Path) -> None:
    """Remove `folder` whole: it is a draft before its first file goes, so that a later run removes what is left of it."""
    going = folder.with_name(_name(folder, _DRAFT))
    os.replace(folder, going)
    if going.is_dir():
        shutil.rmtree(going.resolve())
    if os.path.lexists(going):  # a file, or a link to what is gone now
        going.unlink()


def find_abandoned_drafts(folders: Iterable[Path], notes: Path) -> list[Path]:
    """Drafts that killed processes left anywhere below `folders`, or where `notes` says."""
    found = {draft for _, draft in _abandoned_notes(notes) if draft.exists()}
    for folder in folders:
        for parent, names, files in os.walk(folder):
            left = [Path(parent, name) for name in (*names, *files) if _is_draft(name)]
            names[:] = [name for name in names if not _is_draft(name)]
            found.update(draft for draft in left if _is_abandoned(draft))
    return sorted(found)


def _put_in_place(draft: Path, target: Path) -> None:
    if not target.exists():
        os.replace(draft, target)
        return
    retired = target.with_name(_name(target, _RETIRED))
    with _locked(target):  # or a sweep would put it back between the two steps
        os.replace(target, retired)
        os.replace(draft, target)
        shutil.rmtree(retired, ignore_errors=True)


def _name(path: Path, kind: str) -> str:
    return f".{path.name[:_NAME_LENGTH]}.{os.getpid()}.{next(_numbers)}{kind}"


def _target_of(draft: Path) -> Path:
    """What `draft` was to become, or was; a long name is cut off."""
    return draft.with_name(draft.name[1:].rsplit(".", 3)[0])


def _is_draft(name: str) -> bool:
    return name.startswith(".") and name.endswith((_DRAFT, _RETIRED))


def _drafts_in(folder: Path) -> list[Path]:
    try:
        return [folder / name for name in sorted(os.listdir(folder)) if _is_draft(name)]
    except OSError:
        return []


def _sweep(left: Path) -> None:
    with contextlib.suppress(OSError, portalocker.LockException), _locked(left) as abandoned:
        if not abandoned or not _is_draft(left.name):
            return
        target = _target_of(left)
        if left.suffix == _RETIRED and not target.exists():  # killed before the new one was in its place
            os.replace(left, target)
        elif left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink()


def _is_abandoned(left: Path) -> bool:
    with contextlib.suppress(OSError), _locked(left) as abandoned:
        return abandoned
    return False


def _abandoned_notes(notes: Path) -> Iterator[tuple[Path, Path]]:
    for note in sorted(notes.glob("*.note")):
        with contextlib.suppress(OSError), _locked(note) as abandoned:
            if abandoned:
                yield note, Path(os.fsdecode(note.read_bytes()))


@contextmanager
def _noted(draft: Path, notes: Path | None) -> Iterator[None]:
    """Note where `draft` is until the block ends. The note is locked, as the draft is: it counts when its owner is gone."""
    if notes is None:
        yield
        return
    note = notes / f"{uuid.uuid4().hex}.{os.getpid()}.0.note"
    with ExitStack() as held:
        try:
            make_private_folder(notes)
            remove_noted_drafts(notes)
            file = held.enter_context(_open_locked(note))
        except OSError:  # a home that cannot be written to keeps no notes
            yield
            return
        file.write(os.fsencode(draft.absolute()))
        file.flush()
        try:
            yield
        finally:
            _close_on_windows(file)
            note.unlink(missing_ok=True)


def _open_locked(path: Path) -> IO[bytes]:
    while True:
        file = os.fdopen(open_private(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | NO_FOLLOW), "w+b")
        if sys.platform != "win32":
            portalocker.lock(file, portalocker.LOCK_EX)
        if path.exists():  # else it was swept before it was locked
            return file
        file.close()


@contextmanager
def _made_locked(folder: Path) -> Iterator[None]:
    shutil.rmtree(folder, ignore_errors=True)  # of a process that had the same number
    with ExitStack() as held:
        while not folder.exists():  # or it was swept before it was locked
            folder.mkdir(mode=0o700)
            held.enter_context(_locked(folder))
        yield


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Hold the lock on a file or folder, which ends with the process; whether it was free.

    Windows has no locks on folders. There a draft is free when the process in its name has ended.
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
    """Whether the process in the name of a draft or note runs."""
    process = path.name.rsplit(".", 3)[1:2]
    return bool(process) and process[0].isdecimal() and psutil.pid_exists(int(process[0]))


def _close_on_windows(file: IO[bytes]) -> None:
    """Windows neither renames nor removes an open file. Elsewhere it stays open, since closing it gives the lock back."""
    if sys.platform == "win32":
        file.close()
