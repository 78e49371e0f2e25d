"""The image files of an archive: found by name inside the folder they belong to, never outside it."""

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

# What the system says of names that no file can have; anything else may pass, as of a mount that is away.
_IMPOSSIBLE = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)
_LIMIT_NAME = 1024
_CONTENT = re.compile(r"""b['"]|\{\s*['"]bytes['"]|data:|\[\[?[0-9]|.*[\0-\x1f]""", re.DOTALL)
# Five words, or a word with a full stop, a comma or a colon, and no suffix: reports where file names were expected.
_TEXT = re.compile(
    r"(?!.*\.[a-z0-9]{3,5}$)(?:(?:\S+\s+){4}\S|.*[^\W\d_]{2}[.,:;!?](?:\s|$))", re.DOTALL | re.IGNORECASE
)
_WINDOWS_ROOT = re.compile(r"[A-Za-z]:[\\/]|\\\\")


class FileTree:
    """The files in a folder and below it, as they were when they were first asked for.

    Each subfolder is listed once instead of asking the system for every file. Links are followed where they lead to a
    file inside; a link to a folder is not entered where all files are named, so a circle of links is no trap. Hidden
    files are found by name, and left out where all files are named.
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
        """Subfolders that were needed and could not be listed."""
        self._above = f"{path.absolute()}/"
        self._inside = path.resolve()
        self._files: set[str] = set()
        self._folders: set[str] = set()
        self._others: set[str] = set()  # links, and what is neither file nor folder
        self._listed: set[str] = set()
        self._resolved: dict[str, Path] = {}
        self._list("")
        if "" in self.unreadable:
            raise SourceError(str(self.unreadable[""]))

    def locate(self, name: str) -> Path:
        """The path of the file that a row calls `name`: relative to the folder, or absolute and inside it; `\\` is `/`.

        Raises:
            PathOutside: the name leads out of the folder, by `..`, as an absolute path or through a link.
            MissingFile: there is no such file.
            SystemFailure: the system refuses to look.
        """
        inner = self._inner(name)
        return self.path / inner if self._is_plain(inner) else self._resolve(inner)

    def is_name(self, cell: str) -> bool:
        """Whether a cell can name a file: it is no image as text (bytes, base64), nor a report, neither of which belongs
        in a message. A file that is there has a name, whatever it reads like.
        """
        if len(cell) > _LIMIT_NAME or _CONTENT.match(cell):
            return False
        return not _TEXT.match(cell) or self._is_plain(self._inner(cell))

    def identity(self, name: str) -> str:
        """What all names of one file have in common: its relative path, links followed; `name` itself if there is none."""
        return self._file_of(self._inner(name))

    def names(self) -> list[str]:
        """Relative paths, with `/`, of everything that is neither hidden nor a folder (links are named), sorted."""
        while waiting := [name for name in self._folders - self._listed if not _is_hidden(name)]:
            for folder in waiting:
                self._list(folder)
        return sorted(name for name in self._files | self._others if not _is_hidden(name))

    def empty_folders(self, strangers: Collection[str] = ()) -> frozenset[str]:
        """Relative paths of the folders that hold no file that `names` gives, neither themselves nor below.

        `strangers` are files that do not count: some put a note where a file system will be mounted.
        """
        names = [name for name in self.names() if name not in strangers]
        filled = {parent for name in names for parent in accumulate(name.split("/")[:-1], "{}/{}".format)}
        return frozenset(printable(name) for name in self._folders - filled if not _is_hidden(name))

    def unlisted(self, named: Iterable[str]) -> list[Quarantined]:
        """The files that are there though no row calls one by a name in `named`, each as `unlisted_file`."""
        listed = {self.identity(name) for name in named}
        return [
            Quarantined(printable(name), "unlisted_file", f"no row names this file, which lies in {self.path}")
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
        """`name` as a relative path, if it is the absolute path of something inside; a way out stays as it is."""
        if "\\" in name and not self._is_plain(name) and not _WINDOWS_ROOT.match(name):
            name = name.replace("\\", "/")
        inner = name.removeprefix(self._above)
        return name if inner.startswith("/") else inner

    def _file_of(self, name: str) -> str:
        """The relative path of the file that `name` comes down to; `name` itself where there is none."""
        if self._is_plain(name):
            return name
        try:
            found = self._resolve(name).relative_to(self._inside).as_posix()
        except (MissingFile, PathOutside, SystemFailure):
            return name
        if self._is_plain(found):
            return found
        # A file system that ignores case has found it under another spelling than it lists.
        alike = self._by_spelling.get(_spelling(found), [])
        return alike[0] if len(alike) == 1 else found

    def _is_plain(self, name: str) -> bool:
        """Whether `name` is a regular file without a link on the way to it, which needs no more care."""
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
        except (OSError, ValueError, RuntimeError) as error:  # ValueError: a NUL byte; RuntimeError: a circle of links
            if isinstance(error, RuntimeError) or (isinstance(error, OSError) and error.errno == errno.ELOOP):
                raise MissingFile(
                    f"{name!r} in {self.path} is or lies below a link that leads back to itself"
                ) from None
            if isinstance(error, OSError) and error.errno not in _IMPOSSIBLE:
                raise SystemFailure(f"{name!r} in {self.path} cannot be read: {error.strerror}") from error
            raise MissingFile(f"no file can have this name of {len(name):,} characters") from None
        if not resolved.is_relative_to(self._inside):
            raise PathOutside(f"{name!r} leads outside {self.path}; give an --images-dir that contains every image")
        if not found:
            raise MissingFile(f"no file {name!r} in {self.path}{self._hint(name)}")
        self._resolved[name] = resolved
        return resolved

    def _hint(self, name: str) -> str:
        if _WINDOWS_ROOT.match(name):
            return "; this is an absolute path of a Windows computer: give paths relative to --images-dir"
        alike = self._by_spelling.get(_spelling(os.path.normpath(name)), [])
        if name in alike:
            return "; what has this name is neither a file nor a link to one"
        if alike and alike[0].lower() != os.path.normpath(name).lower():
            return "; a file's name looks the same and has other Unicode characters (NFC and NFD): rename the file"
        return f"; {alike[0]!r} is spelled in another case" if alike else ""

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
    """`name` with those bytes escaped that are not UTF-8, which an index, a ledger and a terminal would refuse."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _spelling(name: str) -> str:
    """What names have in common that differ in case, or in how letters with accents are composed."""
    return unicodedata.normalize("NFC", name).lower()


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or "/." in name
