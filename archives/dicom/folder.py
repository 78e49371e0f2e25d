"""A tree of DICOM files (PS3.10), with or without extension, and their reports."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from archives.dicom.accession_numbers import AccessionNumbers
from archives.dicom.report_table import ReportTable
from archives.dicom.scan import ScannedImage, ScannedOther, ScannedReport, scan_file
from archives.dicom.structured_reports import StructuredReports
from archives.file_tree import FileTree, printable
from retrieval.errors import MissingExtra, PathOutside, RetrievalError, SourceError
from retrieval.imaging.dicom.pseudonyms import fingerprint, hash_uid
from retrieval.progress import Progress
from retrieval.records import ImageRecord, Quarantined, Study, View

_DIRECTORY = "DICOMDIR"


class DicomFolderSource:
    """Reads a folder and all below it study by study, in the order of their first files' paths.

    Headers are scanned once, when the source is opened. Study and image go by HMACs of their UIDs with the salt; no other
    tag that could tell of the patient is kept. Reports come from a table (`ReportTable`), else from structured
    reports in the tree (`StructuredReports`): by StudyInstanceUID, else by an accession number that only one study has.

    What cannot be used comes out as `Quarantined`: files that are not DICOM (`wrong_type`), are no radiographs
    (`wrong_modality`), are empty or damaged (their code) or have a name that is not UTF-8 (`bad_name`); links that lead
    outside (`path_outside`) or nowhere (`missing_file`); rows of the table without an image
    (`row_without_file`), with an accession number that names no study for certain (`shared_accession`), or that contradict
    (`conflicting_report`) or repeat another (`duplicate_id`); structured reports without an image
    (`report_without_image`). Hidden files, directories of media (`DICOMDIR`), reports,
    presentation states, key objects and links to what is in the tree anyway are no errors. Files with one SOP Instance
    UID are images of one id: the worker indexes the first by path that it can read.
    """

    def __init__(
        self,
        folder: Path,
        *,
        dataset: str,
        salt: bytes,
        reports_csv: Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Open the folder and scan it.

        Args:
            folder: The root of the tree.
            dataset: The name of the archive.
            salt: The secret of `retrieval.imaging.dicom.pseudonyms.load_salt`.
            reports_csv: A table with `study_instance_uid` or `accession_number`, and any of findings, impression,
                indication, comparison, report, mesh and problems.
            progress: Told the files scanned.

        Raises:
            SourceError: the folder or the table is missing or cannot be read.
            MissingColumn: the table lacks a column.
            MissingExtra: pydicom is not installed.
        """
        self.dataset = dataset
        if not folder.is_dir():
            raise SourceError(f"the folder {folder} does not exist; give the folder that holds the DICOM files")
        self._folder = FileTree(folder)
        self._table = reports_csv
        table = ReportTable(reports_csv, partial(hash_uid, salt)) if reports_csv else None
        self._salt = salt
        self.salt_fingerprint = fingerprint(salt)
        self._images: dict[str, list[tuple[str, str, View]]] = {}  # file, image id and view by study
        self._accessions = AccessionNumbers()
        self._reports = StructuredReports()
        self._set_aside: list[Quarantined] = []
        self._scan(progress)
        self._looks_up = table is not None or self._reports.found_any
        self._rows, unattached = table.attach(self._images, self._accessions) if table else ({}, [])
        self._set_aside += unattached + self._reports.attach(self._images, self._accessions)
        self._table_notes = table.notes if table else ()

    def image_count(self) -> int:
        """Images, and quarantined files."""
        return sum(map(len, self._images.values())) + len(self._set_aside)

    def empty_folders(self) -> frozenset[str]:
        """See `retrieval.records.Walked`."""
        return self._folder.empty_folders({each.file for each in self._set_aside if each.code == "wrong_type"})

    def __iter__(self) -> Iterator[Study | Quarantined]:
        yield from self._set_aside
        for study_id in self._images:
            yield self._study(study_id)

    def _study(self, study_id: str) -> Study:
        images = tuple(
            ImageRecord(image_id, self._folder.path / file, view, file)
            for file, image_id, view in self._images[study_id]
        )
        notes = list(self._table_notes)
        if self._looks_up and self._accessions.doubts_of(study_id):
            notes.append("the accession number names no study for certain; reports come by study UID alone")
        if row := self._rows.get(study_id):
            return Study(
                study_id, self.dataset, images, row.report, mesh=row.mesh, problems=row.problems, notes=tuple(notes)
            )
        report, more = self._reports.of(study_id)
        return Study(study_id, self.dataset, images, report, notes=(*notes, *more))

    def _scan(self, progress: Progress | None) -> None:
        names = self._folder.names()
        known = frozenset(names)
        self._set_aside += [Quarantined.because(*folder) for folder in sorted(self._folder.unreadable.items())]
        for done, name in enumerate(names, start=1):
            if not self._is_passed_over(name, known):
                self._add(name)
            if progress:
                progress(done, len(names))

    def _is_passed_over(self, name: str, known: frozenset[str]) -> bool:
        """Whether `name` is no file of its own: a directory of media, the reports, a link to what is in the tree anyway."""
        path = self._folder.path / name
        if PurePosixPath(name).name.upper() == _DIRECTORY or self._folder.links_to_folder(name):
            return True
        if self._table is not None and path.name == self._table.name and path.resolve() == self._table.resolve():
            return True
        try:
            found = self._folder.locate(name)
        except RetrievalError:
            return False
        if found == path:
            return False
        root = self._folder.path.resolve()
        return found.is_relative_to(root) and found.relative_to(root).as_posix() in known

    def _add(self, name: str) -> None:
        if (shown := printable(name)) != name:
            self._set_aside.append(Quarantined(shown, "bad_name", "the name of this file is not UTF-8; rename it"))
            return
        try:
            found = scan_file(self._folder.locate(name), name, self._salt)
        except PathOutside as error:
            self._set_aside.append(Quarantined(name, error.code, f"{name} is a link that leads out of the folder"))
        except MissingExtra:
            raise
        except RetrievalError as error:
            self._set_aside.append(Quarantined.because(name, error))
        else:
            self._keep(name, found)

    def _keep(self, name: str, found: ScannedImage | ScannedReport | ScannedOther) -> None:
        if isinstance(found, ScannedImage):
            self._images.setdefault(found.study_id, []).append((name, found.image_id, found.view))
        elif isinstance(found, ScannedReport):
            self._reports.add(name, found)
            return  # a report may have a study of its own beside that of the images
        elif found.refusal:
            self._set_aside.append(Quarantined.because(name, found.refusal))
        self._accessions.add(found.study_id, found.accession)
