"""Findings: what the indexing and the words of a report say of a study, and what the words of a query ask for or deny.

Two vocabularies stand side by side: the heads of the Indiana (Open-i) indexing, and the fourteen observations of CheXpert
(Irvin et al., AAAI 2019), which other chest X-ray data sets share.
"""

from retrieval.labels.indexing import QUALIFIERS, Labels, read_labels, unknown_terms
from retrieval.labels.mentions import Mentions, find_mentions
from retrieval.labels.report_text import read_report
from retrieval.labels.study import label_study, unread_text
from retrieval.labels.terms import find_term, is_mapping, read_status, read_terms
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
    "read_labels",
    "read_report",
    "read_status",
    "read_terms",
    "resolve_finding",
    "unknown_terms",
    "unread_text",
]
