"""A folder tree of DICOM files (PS3.10), with or without file extension, and their reports."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from archives.dicom.accession_numbers import AccessionNumbers
from archives.dicom.header_scan import ScannedImage, ScannedOther, ScannedReport, scan_file
from archives.dicom.pseudonyms import fingerprint, hash_uid
from archives.dicom.report_table import ReportTable
from archives.dicom.structured_reports import StructuredReports
from archives.file_tree import FileTree, printable
from retrieval.errors import MissingExtra, PathOutside, RetrievalError, SourceError
from retrieval.progress import NoProgress, StageProgress
from retrieval.records import ImageRecord, Quarantined, Study, View

_DIRECTORY = "DICOMDIR"


class DicomFolderSource:
    """Reads a folder tree study by study, in the order of the path of each study's first file.

    Headers are scanned once, when the source is opened. The ids of studies and images are HMACs of their UIDs with the
    salt. No other tag that could identify the patient is kept. Reports come from a table (`ReportTable`), else from
    structured reports in the tree (`StructuredReports`). They are matched by StudyInstanceUID, else by an accession number
    that only one study has. If several files have the same SOPInstanceUID, the worker indexes the first readable one.

    Quarantined, by code:

    - `wrong_type`: not DICOM. `wrong_modality`: not a radiograph. Empty or damaged files have the code of their error.
    - `bad_name`: the file name is not UTF-8.
    - `path_outside`, `missing_file`: a link that leads outside the folder or to nothing.
    - `row_without_file`: a row of the table without an image.
    - `shared_accession`: a row whose accession number does not identify one study.
    - `conflicting_report`, `duplicate_id`: rows that contradict or repeat each other.
    - `report_without_image`: a structured report without an image.

    Ignored: hidden files, `DICOMDIR`, the reports table, presentation states, key objects, and links to files of the tree.
    """

    def __init__(
        self,
        folder: Path,
        *,
        dataset: str,
        salt: bytes,
        reports_csv: Path | None = None,
        progress: StageProgress | None = None,
    ) -> None:
        """Open the folder and scan it.

        Args:
            folder: The root of the tree.
            dataset: The name of the archive.
            salt: The secret of `archives.dicom.pseudonyms.load_salt`.
            reports_csv: A table with `study_instance_uid` or `accession_number`, and any of findings, impression,
                indication, comparison, report, mesh and problems.
            progress: Receives the stages: listing files, scanning headers, matching reports.

        Raises:
            SourceError: the folder or the table is missing or cannot be read.
            MissingColumn: the table lacks a column.
            MissingExtra: pydicom is not installed.
        """
        self.dataset = dataset
        progress = progress or NoProgress()
        if not folder.is_dir():
            raise SourceError(f"the folder {folder} does not exist; give the folder that holds the DICOM files")
        progress.stage("Listing files")
        self._folder = FileTree(folder)
        self._table = reports_csv
        table = (
            ReportTable(reports_csv, partial(hash_uid, salt)) if reports_csv else None
        )  # errors before the long scan
        self._salt = salt
        self.salt_fingerprint = fingerprint(salt)
        self._images: dict[str, list[tuple[str, str, View]]] = {}  # file, image id and view by study
        self._accessions = AccessionNumbers()
        self._reports = StructuredReports()
        self._quarantined: list[Quarantined] = []
        self._scan(progress)
        self._has_reports = table is not None or self._reports.found_any
        progress.stage("Matching reports", "rows")
        self._rows, unmatched = table.match(self._images, self._accessions, progress) if table else ({}, [])
        self._quarantined += unmatched + self._reports.match(self._images, self._accessions)
        self._table_notes = table.notes if table else ()

    def image_count(self) -> int:
        """Images, plus quarantined files and rows."""
        return sum(map(len, self._images.values())) + len(self._quarantined)

    def empty_folders(self) -> frozenset[str]:
        """See `retrieval.records.Walked`."""
        return self._folder.empty_folders({each.file for each in self._quarantined if each.code == "wrong_type"})

    def __iter__(self) -> Iterator[Study | Quarantined]:
        yield from self._quarantined
        for study_id in self._images:
            yield self._study(study_id)

    def _study(self, study_id: str) -> Study:
        images = tuple(
            ImageRecord(image_id, self._folder.path / file, view, file)
            for file, image_id, view in self._images[study_id]
        )
        notes = list(self._table_notes)
        if self._has_reports and self._accessions.is_ambiguous(study_id):
            notes.append("the accession number does not identify one study; reports are matched by study UID only")
        if row := self._rows.get(study_id):
            return Study(
                study_id, self.dataset, images, row.report, mesh=row.mesh, problems=row.problems, notes=tuple(notes)
            )
        report, more = self._reports.of(study_id)
        return Study(study_id, self.dataset, images, report, notes=(*notes, *more))

    def _scan(self, progress: StageProgress) -> None:
        names = self._folder.names()
        known = frozenset(names)
        self._quarantined += [Quarantined.because(*folder) for folder in sorted(self._folder.unreadable.items())]
        progress.stage("Scanning DICOM headers", "files")
        for done, name in enumerate(names, start=1):
            if not self._is_ignored(name, known):
                self._scan_file(name)
            progress(done, len(names))

    def _is_ignored(self, name: str, known: frozenset[str]) -> bool:
        """Whether `name` is a `DICOMDIR`, the reports table, or a link to a file that is in the tree."""
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

    def _scan_file(self, name: str) -> None:
        if (shown := printable(name)) != name:
            self._quarantined.append(Quarantined(shown, "bad_name", "the name of this file is not UTF-8; rename it"))
            return
        try:
            found = scan_file(self._folder.locate(name), name, self._salt)
        except PathOutside as error:
            self._quarantined.append(Quarantined(name, error.code, f"{name} is a link to a file outside the folder"))
        except MissingExtra:
            raise
        except RetrievalError as error:
            self._quarantined.append(Quarantined.because(name, error))
        else:
            self._add(name, found)

    def _add(self, name: str, found: ScannedImage | ScannedReport | ScannedOther) -> None:
        if isinstance(found, ScannedImage):
            self._images.setdefault(found.study_id, []).append((name, found.image_id, found.view))
        elif isinstance(found, ScannedReport):
            self._reports.add(name, found)
            return  # a report may have another study UID than the images
        elif found.refusal:
            self._quarantined.append(Quarantined.because(name, found.refusal))
        self._accessions.add(found.study_id, found.accession)
