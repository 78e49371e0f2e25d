"""Opens a source from the options of a command, or from those that a ledger recorded."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from archives.dicom.folder import DicomFolderSource
from archives.dicom.pseudonyms import load_salt
from archives.image_folder import ImageFolderSource
from archives.indiana import IndianaSource
from archives.tables.columns import parse_columns
from archives.tables.source import TableSource
from retrieval.errors import InvalidRequest, SourceError
from retrieval.index.filters import LIMIT_NAME
from retrieval.progress import NoProgress, StageProgress
from retrieval.records import Source

Kind = Literal["indiana", "table", "dicom", "images"]


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """A kind of source with its options. Paths are absolute, so that a recorded spec opens from any folder."""

    kind: Kind
    dataset: str
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_options(
        cls,
        *,
        reports_csv: Path | None = None,
        projections_csv: Path | None = None,
        images_dir: Path | None = None,
        table: Path | None = None,
        columns: list[str] | None = None,
        dicom_dir: Path | None = None,
        dataset: str | None = None,
    ) -> SourceSpec:
        """The source that the options of a command describe.

        Raises:
            InvalidRequest: the options describe no source or several, or an option is missing; or the name of the dataset
                contains a slash or is too long.
        """
        paths = {
            name: str(path.absolute())
            for name, path in (
                ("reports_csv", reports_csv),
                ("projections_csv", projections_csv),
                ("images_dir", images_dir),
                ("table", table),
                ("dicom_dir", dicom_dir),
            )
            if path is not None
        }
        kind = _kind_of(frozenset(paths))
        if columns and kind != "table":
            raise InvalidRequest("--column needs --table")
        # A point id is made of `dataset/image_id`. With slashes, image b/c of dataset a would equal image c of dataset a/b.
        if dataset and "/" in dataset:
            raise InvalidRequest(f"the name of a dataset must not contain a slash, found {dataset!r}")
        if dataset and len(dataset) > LIMIT_NAME:
            raise InvalidRequest(f"the name of a dataset has at most {LIMIT_NAME} characters, found {len(dataset)}")
        options: dict[str, Any] = dict(paths)
        if kind == "table":
            options["columns"] = columns or []
        return cls(kind, dataset or kind, options)

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> SourceSpec:
        """The inverse of `to_dict`.

        Raises:
            SourceError: another version recorded it, with a kind of source that this version does not have.
        """
        if document["kind"] not in get_args(Kind):
            raise SourceError(f"this version cannot read a source of the kind {document['kind']!r}")
        return cls(document["kind"], document["dataset"], document["options"])

    def to_dict(self) -> dict[str, Any]:
        """The spec as plain values, for a ledger."""
        return asdict(self)

    def describe(self) -> str:
        """The source in words, with its resolved paths."""
        path = {name: Path(value).resolve() for name, value in self._identifying_options().items()}
        match self.kind:
            case "indiana":
                return f"the tables {path['reports_csv']} and {path['projections_csv']} with images in {path['images_dir']}"
            case "table":
                return f"the table {path['table']} with images in {path['images_dir']}"
            case "dicom":
                return f"the DICOM folder {path['dicom_dir']}"
            case _:
                return f"the images folder {path['images_dir']}"

    def is_same_source(self, other: SourceSpec) -> bool:
        """Whether both read the same files, also if the paths differ (relative, through links, through a bind mount)."""
        mine, others = self._identifying_options(), other._identifying_options()
        return self.kind == other.kind and all(_is_same_path(mine[name], others[name]) for name in mine)

    def _identifying_options(self) -> dict[str, str]:
        """The paths that identify the archive. For DICOM it is the folder alone; its reports table may change."""
        if self.kind == "dicom":
            return {"dicom_dir": self.options["dicom_dir"]}
        paths = {name: value for name, value in self.options.items() if name != "columns"}
        if self.kind == "table":
            paths.setdefault("images_dir", str(Path(paths["table"]).parent))
        return paths

    def open(self, home: Path, progress: StageProgress | None = None) -> Source:
        """Open the source.

        Args:
            home: `CXR_HOME`; it holds the salt that DICOM UIDs are hashed with.
            progress: Receives the stages: reading tables, listing files, scanning DICOM headers, matching reports.

        Raises:
            SourceError: the source cannot be read.
        """
        progress = progress or NoProgress()
        path = {name: Path(value) for name, value in self.options.items() if name != "columns"}
        match self.kind:
            case "indiana":
                progress.stage("Reading the tables")
                return IndianaSource(
                    path["reports_csv"], path["projections_csv"], path["images_dir"], dataset=self.dataset
                )
            case "table":
                progress.stage("Reading the table")
                columns = parse_columns(self.options["columns"])
                images_dir = path.get("images_dir")
                return TableSource(path["table"], images_dir=images_dir, columns=columns, dataset=self.dataset)
            case "dicom":
                return DicomFolderSource(
                    path["dicom_dir"],
                    dataset=self.dataset,
                    salt=load_salt(home),
                    reports_csv=path.get("reports_csv"),
                    progress=progress,
                )
            case "images":
                progress.stage("Listing files")
                return ImageFolderSource(path["images_dir"], dataset=self.dataset)


_KIND_BY_OPTIONS: dict[frozenset[str], Kind] = {
    frozenset({"reports_csv", "projections_csv", "images_dir"}): "indiana",
    frozenset({"table"}): "table",
    frozenset({"table", "images_dir"}): "table",
    frozenset({"dicom_dir"}): "dicom",
    frozenset({"dicom_dir", "reports_csv"}): "dicom",
    frozenset({"images_dir"}): "images",
}


def _kind_of(given: frozenset[str]) -> Kind:
    if given in _KIND_BY_OPTIONS:
        return _KIND_BY_OPTIONS[given]
    found = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(given)) or "none of these options"
    raise InvalidRequest(
        "name one source: --reports-csv, --projections-csv and --images-dir (Indiana layout); or --table, with --column "
        "if columns have other names and --images-dir if the files lie in another folder; or --dicom-dir, with "
        "--reports-csv for reports by accession number; or --images-dir alone, for images without reports; "
        f"found {found}"
    )


def _is_same_path(one: str, other: str) -> bool:
    """Whether two paths lead to the same file or folder: by name, through links, or through a bind mount."""
    if one == other or Path(one).resolve() == Path(other).resolve():
        return True
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False
