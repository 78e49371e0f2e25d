"""A small archive in the form of the Indiana collection."""

from __future__ import annotations

from pathlib import Path

from archives.indiana import IndianaSource
from retrieval.records import Quarantined, Study

REPORTS = "uid,MeSH,Problems,image,indication,comparison,findings,impression\n"
ONE_REPORT = (
    REPORTS + '1,Cardiomegaly/mild;Nodule/lung,Cardiomegaly;Nodule,PA,Cough., None ,"Large heart, XXXX.",Big heart.\n'
)


class Archive:
    """A small archive in a folder; tables are written as given, images as empty files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images = folder / "images"
        self.images.mkdir()
        self.tables(ONE_REPORT, "1,a.png,Frontal\n1,b.png,Lateral\n")
        self.files("a.png", "b.png")

    def tables(self, reports: str, rows: str, *, header: str = "uid,filename,projection\n") -> None:
        (self.folder / "reports.csv").write_text(reports)
        (self.folder / "projections.csv").write_text(header + rows)

    def files(self, *names: str) -> None:
        for name in names:
            (self.images / name).touch()

    def source(self, *, uids: set[str] | None = None) -> IndianaSource:
        return IndianaSource(self.folder / "reports.csv", self.folder / "projections.csv", self.images, uids=uids)

    def read(self) -> tuple[list[Study], list[tuple[str, str]]]:
        """The studies, and file and code of quarantined rows."""
        records = list(self.source())
        quarantined = [(record.file, record.code) for record in records if isinstance(record, Quarantined)]
        return [record for record in records if isinstance(record, Study)], [
            (file, code) for file, code in quarantined if code != "unlisted_file"
        ]

    def unlisted(self, *, uids: set[str] | None = None) -> list[str]:
        """Files that no row names; they come last."""
        records = list(self.source(uids=uids))
        found = [r.file for r in records if isinstance(r, Quarantined) and r.code == "unlisted_file"]
        assert [r.file for r in records[len(records) - len(found) :] if isinstance(r, Quarantined)] == found
        return found
