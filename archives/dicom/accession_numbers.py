"""Accession numbers of an archive: which name one study for certain."""

from __future__ import annotations

from collections import defaultdict

from archives.tables.cells import is_dummy, is_missing


class AccessionNumbers:
    """The accession numbers of studies, and what they can tell."""

    def __init__(self) -> None:
        self._studies: defaultdict[str, set[str]] = defaultdict(set)
        self._numbers: defaultdict[str, set[str]] = defaultdict(set)

    def add(self, study_id: str, accession: str) -> None:
        """Note that a file of the study has this accession number; a missing one is none."""
        if not is_missing(accession):
            self._studies[accession].add(study_id)
            self._numbers[study_id].add(accession)

    def study_of(self, accession: str) -> str | None:
        """The only study of this accession number, if it has no other number and the number is no dummy; else None."""
        if self.doubt(accession):
            return None
        return next(iter(self._studies.get(accession, ())), None)

    def doubt(self, accession: str) -> str:
        """Why the number names no study for certain; the empty string if it does, or if no study has it.

        Accession numbers are patient data: the words do not repeat it.
        """
        studies = self._studies.get(accession, set())
        if not studies:
            return ""
        if is_dummy(accession):
            return "a dummy, as de-identification writes into every file"
        if len(studies) > 1:
            return f"that of {len(studies)} studies"
        if len(self._numbers[next(iter(studies))]) > 1:
            return "that of a study whose files have several"
        return ""

    def doubts_of(self, study_id: str) -> bool:
        """Whether the study has an accession number that does not name it for certain."""
        return any(self.doubt(accession) for accession in self._numbers.get(study_id, ()))
