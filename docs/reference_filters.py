"""The page of queries, filters, vocabularies, presets and facets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import get_args

from docs.reference_markdown import NOTICE, code_list
from retrieval.index.filters import Filters
from retrieval.labels.finding_words import WORDS_OF_HEAD
from retrieval.labels.indexed_labels import QUALIFIERS
from retrieval.labels.vocabulary import CHEXPERT_14, OTHER_HEADS, chexpert_names
from retrieval.search.query import Facet, Query
from retrieval.search.rerank import PRESETS, WEIGHTS

FILTER_MEANINGS = {
    "all": "Findings that must all be present.",
    "any": "Findings of which at least one must be present.",
    "none": "Findings that must be neither present nor uncertain. Images without labels pass.",
    "absent": "Findings that the report denies. No qualifiers. Stricter than `none`.",
    "certainty": "What `all` and `any` ask for: `present`, `uncertain` or `either`.",
    "sides": "Laterality of any finding, one of these.",
    "sites": "Site of any finding, one of these.",
    "severities": "Severity of any finding, one of these.",
    "view": "`frontal`, `lateral` or `unknown`.",
    "dataset": "Name of the dataset.",
    "study_id": "Images of this study only.",
    "date_from": "First study date, `YYYY-MM-DD`. Images without a date (all of DICOM, Indiana) never match.",
    "date_to": "Last study date, `YYYY-MM-DD`.",
    "has_report": "`true`: only images with report text; `false`: only images without.",
    "exclude_studies": "Studies that must not appear.",
}
QUERY_MEANINGS = {
    "text": "Words to look for, at most 2,000 characters. They rank hits and do not exclude any; denials do.",
    "image": "Bytes of a PNG, JPEG, WebP or DICOM file; base64 in JSON.",
    "study": "A stored case: `study_id`, and `dataset` or `image_id` where needed.",
    "like": "Up to 20 stored cases that hits should resemble.",
    "unlike": "Up to 20 stored cases that hits should differ from.",
    "filters": "See the table of filters.",
    "interpret": "Turn what the text denies into a filter.",
    "match": "Where candidates come from: `dense` (nearest images), `bm25` (words of the reports) or `hybrid` (both).",
    "rerank": "A preset, `none`, or weights by signal.",
    "diversity": "0 to 1: maximal marginal relevance; 0 keeps the order.",
    "collapse": "One hit per `study` or `report`; `none` keeps all.",
    "candidates": "Nearest images that are reordered, 1 to 1,000.",
    "facets": "Fields whose values are counted under the filters.",
    "k": "Number of hits, 1 to 100.",
}


def render_filters() -> str:
    """The fields of a query and of its filters, the vocabularies, presets and facets."""
    lines = [NOTICE + "# Filters and labels", ""]
    lines += [
        "The same names hold on the command line (`--query`, `--filters`), over HTTP and in Python (`Query`, `Filters`).",
        "[Searching](../guides/searching.md) shows them in use.",
        "",
        "## Query",
        "",
        *_fields(Query, QUERY_MEANINGS),
        "",
        "## Filters",
        "",
        "All conditions must hold. Findings are written in either vocabulary, in any case. A finding may carry one",
        "qualifier after a slash: `Opacity/left`, `Lung Opacity/mild`.",
        "",
        *_fields(Filters, FILTER_MEANINGS),
        "",
        "## Facets",
        "",
        f"`facets` counts values of: {code_list(get_args(Facet))}.",
        "",
        "## Rerank presets",
        "",
        "| Preset | " + " | ".join(WEIGHTS) + " |",
        "|---|" + "---|" * len(WEIGHTS),
    ]
    for name, weights in PRESETS.items():
        lines.append(f"| `{name}` | " + " | ".join(f"{weights.get(signal, 0):g}" for signal in WEIGHTS) + " |")
    lines += [
        "",
        "`none` keeps the order of the candidate lists. Weights that a query cannot use are left out, and the rest are",
        "scaled to a sum of 1. `cxr tune --save NAME` adds a preset of your own.",
        "",
        "## CheXpert-14",
        "",
        code_list(CHEXPERT_14),
        "",
        "## Heads: main terms of the Indiana MeSH labels",
        "",
        "Read from report text, and from MeSH and Problems where a study has them.",
        "",
        "| Head | CheXpert-14 |",
        "|---|---|",
    ]
    for head in sorted(WORDS_OF_HEAD):
        lines.append(f"| `{head}` | {code_list(chexpert_names(head)) or '–'} |")
    lines += ["", "Taken from MeSH and Problems only:", "", code_list(OTHER_HEADS), "", "## Qualifiers", ""]
    lines += [
        *(f"- {name}: {code_list(sorted(values))}" for name, values in QUALIFIERS.items()),
        "",
        "Report text gives sides and severities, the indexing all three. A facet counts those of a collection.",
    ]
    return "\n".join(lines) + "\n"


def _fields(struct: type, meanings: Mapping[str, str]) -> list[str]:
    names = struct.__struct_fields__  # type: ignore[attr-defined]
    defaults = dict(zip(names[-len(struct.__struct_defaults__) :], struct.__struct_defaults__, strict=True))  # type: ignore[attr-defined]
    rows = ["| Field | Default | Meaning |", "|---|---|---|"]
    for name in names:
        default = defaults.get(name)
        shown = "" if default in (None, (), Filters()) else f"`{json.dumps(default)}`"
        rows.append(f"| `{name}` | {shown} | {meanings[name]} |")
    return rows
