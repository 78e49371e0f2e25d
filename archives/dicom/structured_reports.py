"""The structured reports of a DICOM tree, and whose they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container
from dataclasses import replace

from archives.dicom.accession_numbers import AccessionNumbers
from archives.dicom.scan import ScannedReport
from archives.dicom.structured_report_text import StructuredText
from retrieval.records import Quarantined, Report

_UNKNOWN = "text of its structured report stood under a heading that is not known, and was kept as findings"
_SEVERAL = "it has several structured reports that differ; the first is used, a verified one before others"


class StructuredReports:
    """Structured reports by study.

    A report belongs to the images with its StudyInstanceUID. If there are none, it belongs to the study with its accession
    number, if that number names one study only (`AccessionNumbers`), the study has no report, and no other report has the
    number. If a study has several reports, the first verified one by path is used, else the first. Addenda are appended to
    its impression in the order of their paths.
    """

    def __init__(self) -> None:
        self._found: defaultdict[str, list[tuple[str, ScannedReport]]] = defaultdict(list)

    @property
    def found_any(self) -> bool:
        """Whether there is any."""
        return bool(self._found)

    def add(self, file: str, report: ScannedReport) -> None:
        """Keep the report in `file`; files come in the order of their paths."""
        self._found[report.study_id].append((file, report))

    def attach(self, studies: Container[str], accessions: AccessionNumbers) -> list[Quarantined]:
        """Give the reports whose study has no images to that of their accession number; what belongs to no images."""
        strays = {study: found for study, found in self._found.items() if study not in studies}
        asking: defaultdict[str, set[str]] = defaultdict(set)
        for study, found in strays.items():
            for _, report in found:
                asking[report.accession].add(study)
        unattached: list[Quarantined] = []
        given: dict[str, list[tuple[str, ScannedReport]]] = {}
        for study, found in strays.items():
            numbers = {report.accession for _, report in found}
            number = numbers.pop() if len(numbers) == 1 else ""
            target = accessions.study_of(number) if len(asking[number]) == 1 else None
            if target and target not in self._found:
                given[target] = found
                continue
            reason = "has the study UID of no image"
            if doubt := accessions.doubt(number):
                reason += f", and its accession number is {doubt}"
            elif len(asking[number]) > 1 and accessions.study_of(number):
                reason += ", and shares its accession number with another report"
            elif target:
                reason += ", and the study of its accession number has a report of its own"
            unattached += [
                Quarantined(file, "report_without_image", f"the structured report {file} {reason}") for file, _ in found
            ]
            del self._found[study]
        for target, found in given.items():
            self._found[target] = found
        return unattached

    def of(self, study_id: str) -> tuple[Report, tuple[str, ...]]:
        """The report of a study, empty if there is none, and notes on it."""
        found = [report for _, report in self._found.get(study_id, ())]
        if not found:
            return Report(), ()
        whole = [each for each in found if not each.text.is_addendum]
        chosen = next((each for each in whole if each.is_verified), whole[0] if whole else None)
        used: list[StructuredText] = [chosen.text] if chosen else []
        report = chosen.text.report if chosen else Report()
        for addendum in (each.text for each in found if each.text.is_addendum):
            text = " ".join(filter(None, (addendum.report.findings, addendum.report.impression)))
            if text not in report.impression:
                report = replace(report, impression=" ".join(filter(None, (report.impression, text))))
            used.append(addendum)
        notes = [_UNKNOWN] if any(text.has_unknown_headings for text in used) else []
        notes += [_SEVERAL] if len({each.text.report for each in whole}) > 1 else []
        return report, tuple(notes)
