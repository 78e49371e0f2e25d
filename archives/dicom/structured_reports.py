"""The structured reports of a DICOM tree, matched to studies."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container
from dataclasses import replace

from archives.dicom.accession_numbers import AccessionNumbers
from archives.dicom.header_scan import ScannedReport
from archives.dicom.structured_report_text import StructuredText
from retrieval.records import Quarantined, Report

_UNKNOWN_HEADING_NOTE = "text of its structured report stands under an unknown heading and was read as findings"
_SEVERAL_REPORTS_NOTE = (
    "it has several structured reports, which differ; the first is used, verified ones before others"
)


class StructuredReports:
    """Structured reports by study.

    A report belongs to the images with its StudyInstanceUID. If there are none, it belongs to the study with its accession
    number, if that number identifies one study (`AccessionNumbers`), the study has no report, and no other report has the
    number. If a study has several reports, the first verified one by path is used, else the first. Addenda are appended to
    its impression in the order of their paths.
    """

    def __init__(self) -> None:
        self._reports: defaultdict[str, list[tuple[str, ScannedReport]]] = defaultdict(list)

    @property
    def found_any(self) -> bool:
        """Whether the tree has structured reports."""
        return bool(self._reports)

    def add(self, file: str, report: ScannedReport) -> None:
        """Add the report in `file`. Add files in the order of their paths."""
        self._reports[report.study_id].append((file, report))

    def match(self, studies: Container[str], accessions: AccessionNumbers) -> list[Quarantined]:
        """Match reports without images by accession number; gives the files that cannot be matched."""
        unmatched = {study: reports for study, reports in self._reports.items() if study not in studies}
        studies_of_number: defaultdict[str, set[str]] = defaultdict(set)
        for study, reports in unmatched.items():
            for _, report in reports:
                studies_of_number[report.accession].add(study)
        quarantined: list[Quarantined] = []
        matched: dict[str, list[tuple[str, ScannedReport]]] = {}
        for study, reports in unmatched.items():
            numbers = {report.accession for _, report in reports}
            number = numbers.pop() if len(numbers) == 1 else ""
            is_only_report = len(studies_of_number[number]) == 1
            target = accessions.study_of(number) if is_only_report else None
            if target and target not in self._reports:
                matched[target] = reports
                continue
            reason = "no image has its study UID"
            if why := accessions.why_ambiguous(number):
                reason += f", and its accession number is {why}"
            elif not is_only_report and accessions.study_of(number):
                reason += ", and another report has its accession number"
            elif target:
                reason += ", and the study with its accession number has another report"
            quarantined += [
                Quarantined(file, "report_without_image", f"the structured report {file} is not used: {reason}")
                for file, _ in reports
            ]
            del self._reports[study]
        for target, reports in matched.items():
            self._reports[target] = reports
        return quarantined

    def of(self, study_id: str) -> tuple[Report, tuple[str, ...]]:
        """The report of a study (empty if it has none), and notes on it."""
        reports = [report for _, report in self._reports.get(study_id, ())]
        if not reports:
            return Report(), ()
        originals = [each for each in reports if not each.text.is_addendum]
        chosen = next((each for each in originals if each.is_verified), originals[0] if originals else None)
        used: list[StructuredText] = [chosen.text] if chosen else []
        report = chosen.text.report if chosen else Report()
        for addendum in (each.text for each in reports if each.text.is_addendum):
            text = " ".join(filter(None, (addendum.report.findings, addendum.report.impression)))
            if text not in report.impression:
                report = replace(report, impression=" ".join(filter(None, (report.impression, text))))
            used.append(addendum)
        notes = [_UNKNOWN_HEADING_NOTE] if any(text.has_unknown_headings for text in used) else []
        notes += [_SEVERAL_REPORTS_NOTE] if len({each.text.report for each in originals}) > 1 else []
        return report, tuple(notes)
