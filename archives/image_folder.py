"""A folder tree of image files without reports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from archives.file_tree import FileTree, printable
from archives.views import view_of_name
from retrieval.errors import RetrievalError
from retrieval.records import ImageRecord, Quarantined, Study

SUFFIXES = (".jpeg", ".jpg", ".png", ".webp")


class ImageFolderSource:
    """Reads a folder tree in the order of the paths. Each image is a separate study.

    The ids of image and study are the path of the file inside the folder, with its suffix: `a.png` and `a.jpg` are two
    studies. The view comes from a word in the file name (frontal, pa, ap, lateral, lat), else from the name of its folder.

    Quarantined, by code: other files (`wrong_type`), links that lead outside the folder (`path_outside`) or to nothing
    (`missing_file`), names that are not UTF-8 (`bad_name`), folders that cannot be read (`system_error`). Hidden files are
    ignored. Links to folders inside the tree are ignored, too: their files come under their real path.
    """

    def __init__(self, folder: Path, *, dataset: str) -> None:
        """Open the folder and find its files.

        Raises:
            SourceError: there is no such folder, or it cannot be read.
        """
        self.dataset = dataset
        self._folder = FileTree(folder)
        self._names = [name for name in self._folder.names() if not self._folder.links_to_folder(name)]

    def image_count(self) -> int:
        """Files and unreadable folders, including those that will be quarantined."""
        return len(self._names) + len(self._folder.unreadable)

    def empty_folders(self) -> frozenset[str]:
        """See `retrieval.records.Walked`."""
        return self._folder.empty_folders({name for name in self._names if not name.lower().endswith(SUFFIXES)})

    def __iter__(self) -> Iterator[Study | Quarantined]:
        for folder, error in sorted(self._folder.unreadable.items()):
            yield Quarantined.because(folder, error)
        for name in self._names:
            yield self._read(name)

    def _read(self, name: str) -> Study | Quarantined:
        shown = printable(name)
        if shown != name:
            return Quarantined(shown, "bad_name", "the name of this file is not UTF-8; rename it")
        try:
            path = self._folder.locate(name)
        except RetrievalError as error:
            return Quarantined.because(name, error)
        suffix = PurePosixPath(name).suffix
        if suffix.lower() not in SUFFIXES:
            found = f"found {suffix}" if suffix else "found no suffix"
            return Quarantined(name, "wrong_type", f"a folder of images may contain {', '.join(SUFFIXES)}; {found}")
        return Study(name, self.dataset, (ImageRecord(name, path, view_of_name(name)),))
