"""How a source is opened: from the options of a command, or from what a ledger kept of them."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from retrieval.errors import InvalidRequest, SourceError
from retrieval.index.filters import LIMIT_NAME
from retrieval.progress import Progress
from retrieval.records import Source

Kind = Literal["indiana", "table", "dicom", "images"]


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """A kind of source and the options it is opened with. Paths are absolute, so that a ledger's spec opens anywhere."""

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
        """The source that a set of options asks for.

        Raises:
            InvalidRequest: they ask for none, for more than one, or for one that lacks an option; or the name of the
                dataset has a slash in it or is too long.
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
            raise InvalidRequest("--column belongs to --table")
        # Point ids are made of `dataset/image_id`: the image b/c of the dataset a and the image c of a/b would be one.
        if dataset and "/" in dataset:
            raise InvalidRequest(f"the name of a dataset has no slash, found {dataset!r}")
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
            SourceError: another version wrote it, with a kind of source that this one does not have.
        """
        if document["kind"] not in get_args(Kind):
            raise SourceError(f"this version reads no source of the kind {document['kind']!r}")
        return cls(document["kind"], document["dataset"], document["options"])

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a ledger."""
        return asdict(self)

    def describe(self) -> str:
        """The source in words, with its resolved paths."""
        path = self._identity()
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
        """Whether both read the same files, by whatever paths: relative, through links, or through a bind mount."""
        mine, others = self._options_that_identify(), other._options_that_identify()
        return self.kind == other.kind and all(_is_same_path(mine[name], others[name]) for name in mine)

    def _identity(self) -> dict[str, Path]:
        return {name: Path(value).resolve() for name, value in self._options_that_identify().items()}

    def _options_that_identify(self) -> dict[str, str]:
        """The paths that say which archive this is; of DICOM the folder alone, beside which the reports may vary."""
        if self.kind == "dicom":
            return {"dicom_dir": self.options["dicom_dir"]}
        paths = {name: value for name, value in self.options.items() if name != "columns"}
        if self.kind == "table":
            paths.setdefault("images_dir", str(Path(paths["table"]).parent))
        return paths

    def open(self, home: Path, progress: Progress | None = None) -> Source:
        """Open the source; `home` holds the salt with which DICOM UIDs are hashed, `progress` is told of a long scan.

        Raises:
            SourceError: it cannot be read.
        """
        path = {name: Path(value) for name, value in self.options.items() if name != "columns"}
        match self.kind:
            case "indiana":
                from archives.indiana import IndianaSource

                return IndianaSource(
                    path["reports_csv"], path["projections_csv"], path["images_dir"], dataset=self.dataset
                )
            case "table":
                from archives.tables.columns import parse_columns
                from archives.tables.source import TableSource

                columns = parse_columns(self.options["columns"])
                images_dir = path.get("images_dir")
                return TableSource(path["table"], images_dir=images_dir, columns=columns, dataset=self.dataset)
            case "dicom":
                from archives.dicom.folder import DicomFolderSource
                from retrieval.imaging.dicom.pseudonyms import load_salt

                return DicomFolderSource(
                    path["dicom_dir"],
                    dataset=self.dataset,
                    salt=load_salt(home),
                    reports_csv=path.get("reports_csv"),
                    progress=progress,
                )
            case "images":
                from archives.image_folder import ImageFolderSource

                return ImageFolderSource(path["images_dir"], dataset=self.dataset)


_OPTIONS: dict[frozenset[str], Kind] = {
    frozenset({"reports_csv", "projections_csv", "images_dir"}): "indiana",
    frozenset({"table"}): "table",
    frozenset({"table", "images_dir"}): "table",
    frozenset({"dicom_dir"}): "dicom",
    frozenset({"dicom_dir", "reports_csv"}): "dicom",
    frozenset({"images_dir"}): "images",
}


def _kind_of(given: frozenset[str]) -> Kind:
    if given in _OPTIONS:
        return _OPTIONS[given]
    found = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(given)) or "none of them"
    raise InvalidRequest(
        "name one source: --reports-csv, --projections-csv and --images-dir (Indiana form); --table, with --column "
        "where names differ and --images-dir where the files lie elsewhere; --dicom-dir, with --reports-csv for reports "
        f"by accession number; or --images-dir alone, for images without reports; found {found}"
    )


def _is_same_path(one: str, other: str) -> bool:
    """Whether two paths lead to one file or folder: by name, through links, or through a bind mount."""
    if one == other or Path(one).resolve() == Path(other).resolve():
        return True
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False
