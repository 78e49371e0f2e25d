"""Findings: what the indexing and the words of a report say of a study, and what the words of a query ask for or deny.

Two vocabularies stand side by side: the heads of the Indiana (Open-i) indexing, and the fourteen observations of CheXpert
(Irvin et al., AAAI 2019), which other chest X-ray data sets share.
"""

from retrieval.labels.column_terms import find_term, is_mapping, read_status, read_terms
from retrieval.labels.indexed_labels import QUALIFIERS, Labels, read_indexing, unknown_terms
from retrieval.labels.query_mentions import Mentions, find_mentions
from retrieval.labels.report_labels import read_report
from retrieval.labels.study_labels import label_study, unread_text
from retrieval.labels.vocabulary import CHEXPERT_14, NORMAL, clean_head, resolve_finding

__all__ = [
    "CHEXPERT_14",
    "NORMAL",
    "QUALIFIERS",
    "Labels",
    "Mentions",
    "clean_head",
    "find_mentions",
    "find_term",
    "is_mapping",
    "label_study",
    "read_indexing",
    "read_report",
    "read_status",
    "read_terms",
    "resolve_finding",
    "unknown_terms",
    "unread_text",
]
