"""Finds the files of an archive by name, inside its folder and never outside."""

from __future__ import annotations

import errno
import os
import re
import unicodedata
from collections.abc import Collection, Iterable
from functools import cached_property
from itertools import accumulate
from pathlib import Path

from retrieval.errors import MissingFile, PathOutside, SourceError, SystemFailure
from retrieval.records import Quarantined

# Errors of the system for impossible file names. Other errors may be temporary, such as a missing mount.
_IMPOSSIBLE = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)
_LIMIT_NAME = 1024
_CONTENT = re.compile(r"""b['"]|\{\s*['"]bytes['"]|data:|\[\[?[0-9]|.*[\0-\x1f]""", re.DOTALL)
# Text instead of a file name: five words, or a word before a full stop, comma or colon; without a suffix.
_TEXT = re.compile(
    r"(?!.*\.[a-z0-9]{3,5}$)(?:(?:\S+\s+){4}\S|.*[^\W\d_]{2}[.,:;!?](?:\s|$))", re.DOTALL | re.IGNORECASE
)
_WINDOWS_ROOT = re.compile(r"[A-Za-z]:[\\/]|\\\\")


class FileTree:
    """The files of a folder tree.

    Each subfolder is listed once, when it is first needed. Links to files inside the folder are followed. `names` enters no
    link to a folder, so a circle of links does no harm, and leaves out hidden files; `locate` finds hidden files, too.

    Attributes:
        path: The folder.
        unreadable: Errors of subfolders that were needed and could not be listed.
    """

    def __init__(self, path: Path) -> None:
        """Open the folder.

        Raises:
            SourceError: there is no such folder, or it cannot be read.
        """
        if not path.is_dir():
            raise SourceError(f"the images folder {path} does not exist; give the folder that holds the image files")
        self.path = path
        self.unreadable: dict[str, SystemFailure] = {}
        self._above = f"{path.absolute()}/"
        self._inside = path.resolve()
        self._files: set[str] = set()
        self._folders: set[str] = set()
        self._others: set[str] = set()  # links, and entries that are neither file nor folder
        self._listed: set[str] = set()
        self._resolved: dict[str, Path] = {}
        self._list("")
        if "" in self.unreadable:
            raise SourceError(str(self.unreadable[""]))

    def locate(self, name: str) -> Path:
        """The path of the file `name`: relative to the folder, or absolute and inside it; `\\` means `/`.

        Raises:
            PathOutside: the name leads outside the folder, by `..`, as an absolute path or through a link.
            MissingFile: there is no such file.
            SystemFailure: the system cannot read the path.
        """
        inner = self._inner(name)
        return self.path / inner if self._is_plain(inner) else self._resolve(inner)

    def is_name(self, cell: str) -> bool:
        """Whether a cell can be a file name, and so may appear in messages.

        Image content (bytes, base64) and report text cannot; the name of an existing file always can.
        """
        if len(cell) > _LIMIT_NAME or _CONTENT.match(cell):
            return False
        return not _TEXT.match(cell) or self._is_plain(self._inner(cell))

    def identity(self, name: str) -> str:
        """The relative path of the file, with links followed; equal for all names of a file. `name` if there is no file."""
        return self._file_of(self._inner(name))

    def names(self) -> list[str]:
        """Sorted relative paths, with `/`, of all files and links that are not hidden."""
        while waiting := [name for name in self._folders - self._listed if not _is_hidden(name)]:
            for folder in waiting:
                self._list(folder)
        return sorted(name for name in self._files | self._others if not _is_hidden(name))

    def empty_folders(self, ignored: Collection[str] = ()) -> frozenset[str]:
        """Relative paths of folders without any file of `names` in them or below them.

        Files in `ignored` do not count: some administrators put a note into the folder of a mount point.
        """
        names = [name for name in self.names() if name not in ignored]
        filled = {parent for name in names for parent in accumulate(name.split("/")[:-1], "{}/{}".format)}
        return frozenset(printable(name) for name in self._folders - filled if not _is_hidden(name))

    def unlisted(self, named: Iterable[str]) -> list[Quarantined]:
        """The files that no name in `named` refers to, each quarantined as `unlisted_file`."""
        listed = {self.identity(name) for name in named}
        return [
            Quarantined(printable(name), "unlisted_file", f"no row names this file in {self.path}")
            for name in self.names()
            if self._file_of(name) not in listed and not self.links_to_folder(name)
        ]

    def links_to_folder(self, name: str) -> bool:
        """Whether `name`, one of `names`, is a link to a folder inside this one."""
        if name in self._files:
            return False
        target = self.path / name
        try:
            return target.is_dir() and target.resolve().is_relative_to(self._inside)
        except (OSError, RuntimeError):  # a circle of links
            return False

    def _inner(self, name: str) -> str:
        """`name` as a relative path. Absolute paths outside the folder stay as they are."""
        if "\\" in name and not self._is_plain(name) and not _WINDOWS_ROOT.match(name):
            name = name.replace("\\", "/")
        inner = name.removeprefix(self._above)
        return name if inner.startswith("/") else inner

    def _file_of(self, name: str) -> str:
        """The relative path of the file that `name` resolves to; `name` itself if there is none."""
        if self._is_plain(name):
            return name
        try:
            found = self._resolve(name).relative_to(self._inside).as_posix()
        except (MissingFile, PathOutside, SystemFailure):
            return name
        if self._is_plain(found):
            return found
        # A file system that ignores case finds a file under another spelling than it lists.
        alike = self._by_spelling.get(_spelling(found), [])
        return alike[0] if len(alike) == 1 else found

    def _is_plain(self, name: str) -> bool:
        """Whether `name` is a regular file and no folder above it is a link; such a path cannot lead outside."""
        folder = name.rpartition("/")[0]
        if folder not in self._listed:
            for parent in accumulate(folder.split("/"), "{}/{}".format):
                if parent not in self._folders:  # a link, `..`, or nothing
                    return False
                self._list(parent)
        return name in self._files

    def _resolve(self, name: str) -> Path:
        if name in self._resolved:
            return self._resolved[name]
        try:
            resolved = (self._inside / name).resolve()
            found = resolved.is_file()
            if not found:
                _raise_if_loop(resolved)
        except (OSError, ValueError, RuntimeError) as error:  # ValueError: a NUL byte; RuntimeError: a circle of links
            if isinstance(error, RuntimeError) or (isinstance(error, OSError) and error.errno == errno.ELOOP):
                raise MissingFile(
                    f"{name!r} in {self.path} is a link that leads back to itself, or lies below one"
                ) from None
            if isinstance(error, OSError) and error.errno not in _IMPOSSIBLE:
                raise SystemFailure(f"{name!r} in {self.path} cannot be read: {error.strerror}") from error
            raise MissingFile(f"a name of {len(name):,} characters cannot be a file name here") from None
        if not resolved.is_relative_to(self._inside):
            raise PathOutside(f"{name!r} leads outside {self.path}; give an --images-dir that contains all images")
        if not found:
            raise MissingFile(f"no file {name!r} in {self.path}{self._hint(name)}")
        self._resolved[name] = resolved
        return resolved

    def _hint(self, name: str) -> str:
        if _WINDOWS_ROOT.match(name):
            return "; this is an absolute Windows path: give paths relative to --images-dir"
        alike = self._by_spelling.get(_spelling(os.path.normpath(name)), [])
        if name in alike:
            return "; this name is neither a file nor a link to a file"
        if alike and alike[0].lower() != os.path.normpath(name).lower():
            return "; a file with the same letters in another Unicode form (NFC or NFD) exists: rename it"
        return f"; {alike[0]!r} differs only in upper and lower case" if alike else ""

    @cached_property
    def _by_spelling(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name in self.names():
            found.setdefault(_spelling(name), []).append(name)
        return found

    def _list(self, folder: str) -> None:
        if folder in self._listed:
            return
        self._listed.add(folder)
        prefix = f"{folder}/" if folder else ""
        try:
            with os.scandir(self.path / folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        self._folders.add(prefix + entry.name)
                    elif entry.is_file(follow_symlinks=False):
                        self._files.add(prefix + entry.name)
                    else:
                        self._others.add(prefix + entry.name)
        except OSError as error:
            detail = f"the folder {self.path / folder} cannot be read: {error.strerror or error}"
            self.unreadable[printable(folder)] = SystemFailure(detail)


def printable(name: str) -> str:
    """`name` with bytes escaped that are not UTF-8; index, ledger and terminal accept only UTF-8."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _spelling(name: str) -> str:
    """A key that is equal for names that differ only in case or in the Unicode form of accents."""
    return unicodedata.normalize("NFC", name).lower()


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or "/." in name


def _raise_if_loop(path: Path) -> None:
    """Raise the OSError of a loop of links. `Path.resolve` raises none since Python 3.13."""
    try:
        path.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise
