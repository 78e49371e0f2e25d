"""A tree of DICOM files (PS3.10), with or without extension, and their reports."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ingest.sources.accession_reports import AccessionReports
from ingest.sources.dicom_scan import ScannedImage, ScannedReport, scan_file
from ingest.sources.files import ImagesFolder, printable
from retrieval.console import Progress
from retrieval.errors import MissingExtra, PathOutside, RetrievalError, SourceError
from retrieval.records import ImageRecord, Quarantined, Report, Study, View

_DIRECTORY = "DICOMDIR"


@dataclass(slots=True)
class _Study:
    """What the scan keeps of a study: (file, image id, view) of its images, and the keys of its report."""

    images: list[tuple[str, str, View]] = field(default_factory=list)
    accessions: set[str] = field(default_factory=set)


class DicomFolderSource:
    """Reads a folder and all below it study by study, in the order of their first files' paths.

    Headers are scanned once, when the source is opened. Study and image go by HMACs of their UIDs with the salt; no other
    tag that could tell of the patient is kept. Reports come from a table by accession number, else from structured
    reports in the tree, by study, else by accession number; of several a verified one, then the first by path.

    What cannot be used comes out as `Quarantined`: files that are not DICOM (`wrong_type`), are no radiographs
    (`wrong_modality`), are empty or damaged (their code) or have a name that is not UTF-8 (`bad_name`); links that lead
    outside (`path_outside`) or nowhere (`missing_file`); rows of the table without an image (`row_without_file`) or with
    the accession number of another (`duplicate_id`). Hidden files, directories of media (`DICOMDIR`), reports,
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
            salt: The secret of `retrieval.imaging.dicom.load_salt`.
            reports_csv: A table with `accession_number` and any of findings, impression, indication, comparison, mesh
                and problems.
            progress: Told the files scanned.

        Raises:
            SourceError: the folder or the table is missing or cannot be read.
            MissingColumn: the table lacks a column.
            MissingExtra: pydicom is not installed.
        """
        self.dataset = dataset
        if not folder.is_dir():
            raise SourceError(f"the folder {folder} does not exist; give the folder that holds the DICOM files")
        self._folder = ImagesFolder(folder)
        self._table = reports_csv
        self._rows = AccessionReports(reports_csv) if reports_csv else None
        self._salt = salt
        self._studies: dict[str, _Study] = {}
        self._reports: dict[str, tuple[bool, Report]] = {}
        self._set_aside: list[Quarantined] = []
        self._scan(progress)

    def image_count(self) -> int:
        """Images, and files that were set aside."""
        return sum(len(study.images) for study in self._studies.values()) + len(self._set_aside)

    def empty_folders(self) -> frozenset[str]:
        """See `retrieval.records.Walked`."""
        return self._folder.empty_folders()

    def __iter__(self) -> Iterator[Study | Quarantined]:
        yield from self._set_aside
        if self._rows:
            yield from self._rows.set_aside(set().union(*(study.accessions for study in self._studies.values())))
        for study_id, study in self._studies.items():
            yield self._study(study_id, study)

    def _study(self, study_id: str, study: _Study) -> Study:
        images = tuple(
            ImageRecord(image_id, self._folder.path / file, view, file) for file, image_id, view in study.images
        )
        if self._rows and (row := self._rows.find(study.accessions)):
            return Study(study_id, self.dataset, images, row.report, mesh=row.mesh, problems=row.problems)
        keys = [study_id, *(_accession_key(accession) for accession in sorted(study.accessions))]
        _, report = next((self._reports[key] for key in keys if key in self._reports), (False, Report()))
        return Study(study_id, self.dataset, images, report)

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
            if isinstance(found, ScannedImage):
                self._add_image(name, found)
            elif isinstance(found, ScannedReport):
                self._add_report(found)

    def _add_image(self, name: str, found: ScannedImage) -> None:
        study = self._studies.setdefault(found.study_id, _Study())
        study.images.append((name, found.image_id, found.view))
        if found.accession:
            study.accessions.add(found.accession)

    def _add_report(self, found: ScannedReport) -> None:
        keys = [found.study_id] + ([_accession_key(found.accession)] if found.accession else [])
        for key in keys:
            if key not in self._reports or (found.is_verified and not self._reports[key][0]):
                self._reports[key] = (found.is_verified, found.report)


def _accession_key(accession: str) -> str:
    return f"accession {accession}"  # never a study's id, which is hexadecimal
