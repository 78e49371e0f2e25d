"""Labels: the findings of a study, from its indexing and its report, and the findings that a query asks for or denies.

Names come from two vocabularies: the heads of the Indiana (Open-i) indexing, and the fourteen observations of CheXpert
(Irvin et al., AAAI 2019), which other chest X-ray datasets share.

Where to change what: words of a finding in `finding_words`, triggers of negation and uncertainty in `triggers`, the effect
of a kind of trigger in `rules`, names of findings in `vocabulary`, terms of other datasets in `column_terms`.
`ingest.labels.study` combines indexing and report of a study; `ingest.labels.explain` explains each label.
"""

from retrieval.labels.column_terms import find_term, is_mapping, read_status, read_terms
from retrieval.labels.indexed_labels import QUALIFIERS, Labels, read_indexing, unknown_terms
from retrieval.labels.query_mentions import Mentions, find_mentions
from retrieval.labels.report_labels import read_report
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
    "read_indexing",
    "read_report",
    "read_status",
    "read_terms",
    "resolve_finding",
    "unknown_terms",
]
