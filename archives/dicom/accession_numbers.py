"""Maps accession numbers to studies; a number that several studies share identifies none."""

from __future__ import annotations

from collections import defaultdict

from archives.tables.cells import is_dummy, is_missing


class AccessionNumbers:
    """The accession numbers of all studies. Accession numbers are patient data: messages do not repeat them."""

    def __init__(self) -> None:
        self._studies: defaultdict[str, set[str]] = defaultdict(set)
        self._numbers: defaultdict[str, set[str]] = defaultdict(set)

    def add(self, study_id: str, accession: str) -> None:
        """Add the accession number of a file of the study; missing values are ignored."""
        if not is_missing(accession):
            self._studies[accession].add(study_id)
            self._numbers[study_id].add(accession)

    def study_of(self, accession: str) -> str | None:
        """The study that this number identifies, or None.

        The number must not be a dummy, no other study may have it, and the study may have no other number.
        """
        if self.why_ambiguous(accession):
            return None
        return next(iter(self._studies.get(accession, ())), None)

    def why_ambiguous(self, accession: str) -> str:
        """Why the number does not identify one study; the empty string if it does, or if no study has it."""
        studies = self._studies.get(accession, set())
        if not studies:
            return ""
        if is_dummy(accession):
            return "a dummy value, such as de-identification writes into every file"
        if len(studies) > 1:
            return f"shared by {len(studies)} studies"
        if len(self._numbers[next(iter(studies))]) > 1:
            return "that of a study whose files have several numbers"
        return ""

    def is_ambiguous(self, study_id: str) -> bool:
        """Whether the study has an accession number that does not identify it."""
        return any(self.why_ambiguous(accession) for accession in self._numbers.get(study_id, ()))
