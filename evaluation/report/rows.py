"""The tables of a report, as rows of text; Markdown and the page show the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.results import Comparison, Estimate, Evaluation, Resources, TaskResult, Times
from evaluation.verdict import show, show_p

TASK_TITLES = {
    "image_to_report_strict": "Image to report, the very report",
    "image_to_report_grouped": "Image to report, any that says the same",
    "image_to_report_distinct": "Image to report, equal reports once in the gallery",
    "report_to_image_strict": "Report to image, of the very study",
    "report_to_image_grouped": "Report to image, of any study whose report says the same",
    "image_to_image": "Image to image, by finding; the query's study left out",
    "text_to_image": "Text to image, a prompt per finding",
}
_SHOWN = {
    "pairs": ("R@1", "R@5", "R@10", "RR"),
    "labels": ("P@1", "P@10", "Hit@10", "nDCG@10", "AP", "P@10 with normal"),
}
NONE = "–"


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a title, a line that says how to read it, headings and rows."""

    title: str
    note: str
    headings: list[str]
    rows: list[list[str]]


def summary(evaluations: Sequence[Evaluation]) -> Table:
    """The table that users know, measured: recall of exact pairs, MRR and mAP, times, sizes, memory, build."""
    pairs, labels = "image_to_report_strict", "image_to_image"
    rows = []
    for each in evaluations:
        cost = each.resources
        rows.append(
            [
                each.model,
                *(_show(each.estimate(pairs, name)) for name in ("R@1", "R@5", "R@10", "RR")),
                _show(each.estimate(labels, "AP")),
                _show(each.estimate(labels, "P@10")),
                *_costs(cost),
            ]
        )
    of_pairs, of_labels = _holder(evaluations, pairs), _holder(evaluations, labels)
    rows.append(
        [
            "chance",
            *(_chance(of_pairs.estimate(pairs, name) if of_pairs else None) for name in ("R@1", "R@5", "R@10", "RR")),
            *(_chance(of_labels.estimate(labels, name) if of_labels else None) for name in ("AP", "P@10")),
            *[NONE] * 5,
        ]
    )
    return Table(
        title="Models",
        note="Recall and MRR: exact pair, image to report, strict. mAP and P@10: image to image by finding, macro over "
        "abnormal findings, the query's study left out. In brackets the 95 % interval, by study. Query: median of a search "
        "for a stored study, reordered; the index on disk; memory: peak of the process; build: as the ingest recorded it.",
        headings=[
            "Model",
            "Recall@1",
            "Recall@5",
            "Recall@10",
            "MRR",
            "mAP",
            "P@10",
            "Query",
            "Index",
            "Memory",
            "VRAM",
            "Build",
        ],
        rows=rows,
    )


def resources(evaluations: Sequence[Evaluation]) -> Table:
    """What each model costs."""
    rows = []
    for each in evaluations:
        cost = each.resources
        if cost is None:
            continue
        build = cost.build
        rows.append(
            [
                each.model,
                f"{cost.device}, {cost.threads} threads",
                *(
                    _times(times)
                    for times in (cost.encode_image, cost.encode_text, cost.query, cost.query_reranked, cost.text_query)
                ),
                f"{build.images_per_second:.1f}" if build else "not recorded",
                f"{build.seconds:.0f} s" if build else "not recorded",
                _bytes(cost.index_bytes),
                _bytes(cost.bundle_bytes),
                _bytes(cost.peak_memory_bytes),
                "; ".join(cost.notes) or NONE,
            ]
        )
    return Table(
        title="Cost",
        note="Milliseconds as median / 95th percentile of single calls, one at a time.",
        headings=[
            "Model",
            "Device",
            "Encode image",
            "Encode text",
            "Query",
            "Query, reordered",
            "Text query",
            "Images/s built",
            "Build",
            "Index",
            "Bundle",
            "Peak memory",
            "Notes",
        ],
        rows=rows,
    )


def tasks(evaluations: Sequence[Evaluation]) -> list[Table]:
    """One table for each task: every model, then the baselines, which need none, and chance."""
    tables = []
    for task, title in TASK_TITLES.items():
        base = _holder(evaluations, task)
        if base is None:
            continue
        shown = _SHOWN["labels" if task in ("image_to_image", "text_to_image") else "pairs"]
        headline = "P@10" if "P@10" in shown else "R@10"
        models = [row for each in evaluations for row in each.results if row.task == task and _is_own(each, row)]
        # Baselines do not depend on the model: those of the first stand for all.
        others = [row for row in base.results if row.task == task and not _is_own(base, row)]
        rows = []
        for row in (*models, *others):
            found = row.measures.get(headline)
            lift = f"{found.lift:.1f}" if found and found.lift is not None else NONE
            rows.append([row.system, *(_show(row.measures.get(name)) for name in shown), lift, "; ".join(row.marks)])
        chance = [_chance(base.estimate(task, name)) for name in shown]
        rows.append(["chance", *chance, NONE, "expectation over all orders"])
        tables.append(
            Table(
                title=title,
                note=f"Gallery {models[0].gallery:,}, n = {models[0].queries:,} queries; lift: {headline} over chance.",
                headings=["System", *shown, "Lift", "To mind"],
                rows=rows,
            )
        )
    return tables


def findings(evaluations: Sequence[Evaluation], task: str) -> Table | None:
    """P@10 by finding, of each model."""
    base = _holder(evaluations, task)
    first = base.row(task) if base else None
    if first is None or not first.by_finding:
        return None
    rows = []
    for finding, measured in first.by_finding.items():
        others = [each.row(task) for each in evaluations]
        figures = [_show(row.by_finding.get(finding, {}).get("P@10")) if row else NONE for row in others]
        studies = evaluations[0].data.findings.get(finding, 0)
        rows.append([finding, str(studies), *figures, _chance(measured.get("P@10"))])
    return Table(
        title=f"P@10 by finding: {TASK_TITLES[task].split(',')[0].lower()}",
        note="Studies that have the finding, P@10 with its 95 % interval, and chance.",
        headings=["Finding", "Studies", *(each.model for each in evaluations), "Chance"],
        rows=rows,
    )


def tests(comparison: Comparison) -> Table:
    """The paired tests."""
    rows = [
        [
            TASK_TITLES[test.task],
            test.measure,
            f"{test.better} − {test.worse}",
            f"{test.difference:.3f} [{test.low:.3f}, {test.high:.3f}]",
            test.method,
            show_p(test.p).removeprefix("p ").removeprefix("= "),
            show_p(test.p_corrected).removeprefix("p ").removeprefix("= "),
            "yes" if test.is_shown else "no difference shown",
        ]
        for test in comparison.tests
    ]
    return Table(
        title="Differences between models",
        note="Paired, by study: pairs by randomisation; labels by a bootstrap that draws queries and gallery at once, since "
        f"every image is in both. p corrected after Holm for the {len(rows)} comparisons made here.",
        headings=["Task", "Measure", "Models", "Difference", "Test", "p", "p corrected", "Shown"],
        rows=rows,
    )


def live(evaluations: Sequence[Evaluation]) -> Table:
    """Recall of the index against exact search, and what denials do."""
    rows = []
    for each in evaluations:
        recall = each.ann.recall if each.ann else {}
        probes = each.probes
        shares = [
            f"{sum(getattr(probe, name) for probe in probes) / len(probes):.3f}" if probes else NONE
            for name in ("share_denied", "share_denied_uninterpreted", "chance")
        ]
        rows.append([each.model, *(f"{recall[k]:.4f}" if k in recall else NONE for k in ("10", "100")), *shares])
    return Table(
        title="The index, and denials",
        note="Recall of the engine's nearest images against exact search. Denied: share of the first ten hits that hold "
        "what the query denies, with its words understood, without that, and in the whole collection; mean over "
        f"{max(len(each.probes) for each in evaluations)} queries.",
        headings=["Model", "ANN recall@10", "ANN recall@100", "Denied", "Denied, not understood", "Chance"],
        rows=rows,
    )


def provenance(evaluations: Sequence[Evaluation]) -> Table:
    """What each figure rests on."""
    rows = [
        [
            each.model,
            each.bundle_id,
            f"{each.precision}, {each.dim} dimensions",
            each.data.fingerprint,
            each.protocol.fingerprint,
            each.measured_at,
            each.machine,
            ", ".join(f"{name} {value}" for name, value in each.versions.items()),
        ]
        for each in evaluations
    ]
    return Table(
        title="Provenance",
        note="Figures compare only where data and protocol have the same fingerprint.",
        headings=["Model", "Bundle", "Kind", "Data", "Protocol", "Measured", "Machine", "Versions"],
        rows=rows,
    )


def protocol_lines(evaluation: Evaluation) -> list[str]:
    """What was judged, and by which rules."""
    data, rules = evaluation.data, evaluation.protocol
    judge = {
        "indexing": "the indexers' labels",
        "text": "labels read from the report text, which makes rows that read reports circular",
        "present": "the collection's labels, of which it does not record whether they come from report text",
    }[rules.judged_by]
    return [
        f"Data: {', '.join(data.datasets)}; {data.images:,} images ({rules.view or 'all views'}) of {data.studies:,} "
        f"studies, split {rules.split or 'none: the whole collection'}; {data.report_groups:,} distinct reports; "
        f"{data.unlabelled:,} images without a label; the collection holds {data.collection_images:,} images.",
        f"Judged by {judge}; vocabulary {rules.vocabulary}, findings of at least {rules.smallest} studies.",
        f"Report text: {rules.report_text}. Left out of the gallery: {rules.dedupe}. Ties: {rules.ties}. At most "
        f"{rules.queries:,} queries a task or finding; rankings cut at {rules.depth:,}; {rules.resamples:,} resamples.",
        "ANN recall, denials, times and examples are of the whole collection, whatever the split.",
    ]


def _holder(evaluations: Sequence[Evaluation], task: str) -> Evaluation | None:
    """The first evaluation that has `task`; a model without a text tower has not all."""
    return next((each for each in evaluations if each.row(task)), None)


def _is_own(evaluation: Evaluation, row: TaskResult) -> bool:
    """Whether a row is the model's, as it is or reranked, and not a baseline's."""
    return row.system in (evaluation.model, f"{evaluation.model}, reranked")


def _costs(cost: Resources | None) -> list[str]:
    if cost is None:
        return [NONE] * 5
    built = f"{cost.build.seconds:.0f} s" if cost.build else "not recorded"
    query = f"{cost.query_reranked.p50_ms:.1f} ms" if cost.query_reranked else NONE
    vram = _bytes(cost.gpu_memory_bytes) if cost.device == "cuda" else "no GPU"
    return [query, _bytes(cost.index_bytes), _bytes(cost.peak_memory_bytes), vram, built]


def _show(found: Estimate | None) -> str:
    return show(found) if found else NONE


def _chance(found: Estimate | None) -> str:
    return f"{found.chance:.3f}" if found and found.chance is not None else NONE


def _times(times: Times | None) -> str:
    return f"{times.p50_ms:.1f} / {times.p95_ms:.1f}" if times else NONE


def _bytes(size: int | None) -> str:
    return f"{size / 1e6:.1f} MB" if size is not None else NONE
