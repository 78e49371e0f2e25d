"""The tables of a report as rows of text, for Markdown and for the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.report.cells import NONE, format_bytes, format_chance, format_estimate, format_times
from evaluation.results import Comparison, Evaluation, Resources, TaskResult
from evaluation.tasks import TASKS
from evaluation.verdict import format_p

_SHOWN = {
    "pairs": ("R@1", "R@5", "R@10", "RR"),
    "labels": ("P@1", "P@10", "Hit@10", "nDCG@10", "AP", "P@10 with normal"),
}


@dataclass(frozen=True, slots=True)
class Table:
    """A table: title, note on how to read it, headings and rows."""

    title: str
    note: str
    headings: list[str]
    rows: list[list[str]]


def summary(evaluations: Sequence[Evaluation]) -> Table:
    """One row per model: recall of exact pairs, MRR, mAP, time, sizes, memory, build."""
    pairs, labels = "image_to_report_strict", "image_to_image"
    rows = []
    for each in evaluations:
        cost = each.resources
        rows.append(
            [
                each.model,
                *(format_estimate(each.estimate(pairs, name)) for name in ("R@1", "R@5", "R@10", "RR")),
                format_estimate(each.estimate(labels, "AP")),
                format_estimate(each.estimate(labels, "P@10")),
                *_costs(cost),
            ]
        )
    of_pairs, of_labels = _first_with(evaluations, pairs), _first_with(evaluations, labels)
    rows.append(
        [
            "chance",
            *(
                format_chance(of_pairs.estimate(pairs, name) if of_pairs else None)
                for name in ("R@1", "R@5", "R@10", "RR")
            ),
            *(format_chance(of_labels.estimate(labels, name) if of_labels else None) for name in ("AP", "P@10")),
            *[NONE] * 5,
        ]
    )
    return Table(
        title="Models",
        note="Recall and MRR: image to report, strict. mAP and P@10: image to image by finding, macro over abnormal "
        "findings. In brackets: 95 % interval, by study. Query: median time of a search for a stored study, with rerank. "
        "Index: size on disk. Memory: peak of the process. Build: duration of the ingest.",
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
    """Cost of each model."""
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
                    format_times(times)
                    for times in (cost.encode_image, cost.encode_text, cost.query, cost.query_reranked, cost.text_query)
                ),
                f"{build.images_per_second:.1f}" if build else "not recorded",
                f"{build.seconds:.0f} s" if build else "not recorded",
                format_bytes(cost.index_bytes),
                format_bytes(cost.bundle_bytes),
                format_bytes(cost.peak_memory_bytes),
                "; ".join(cost.notes) or NONE,
            ]
        )
    return Table(
        title="Cost",
        note="Times in ms: median / 95th percentile of single calls, one at a time.",
        headings=[
            "Model",
            "Device",
            "Encode image",
            "Encode text",
            "Query",
            "Query, reranked",
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
    """One table per task: models, baselines, chance."""
    tables = []
    for task, description in TASKS.items():
        base = _first_with(evaluations, task)
        if base is None:
            continue
        shown = _SHOWN[description.relevance]
        headline = "P@10" if "P@10" in shown else "R@10"
        models = [row for each in evaluations for row in each.results if row.task == task and _is_own(each, row)]
        # Baselines do not depend on the model, so those of the first evaluation are enough.
        others = [row for row in base.results if row.task == task and not _is_own(base, row)]
        rows = []
        for row in (*models, *others):
            found = row.measures.get(headline)
            lift = f"{found.lift:.1f}" if found and found.lift is not None else NONE
            rows.append(
                [row.system, *(format_estimate(row.measures.get(name)) for name in shown), lift, "; ".join(row.marks)]
            )
        chance = [format_chance(base.estimate(task, name)) for name in shown]
        rows.append(["chance", *chance, NONE, "random order"])
        tables.append(
            Table(
                title=description.title,
                note=f"{description.note} Gallery: {models[0].gallery:,} items; {models[0].queries:,} queries. "
                f"Lift: {headline} divided by chance.",
                headings=["System", *shown, "Lift", "Caveats"],
                rows=rows,
            )
        )
    return tables


def findings(evaluations: Sequence[Evaluation], task: str) -> Table | None:
    """P@10 by finding for each model; None if the task was not measured."""
    base = _first_with(evaluations, task)
    first = base.row(task) if base else None
    if first is None or not first.by_finding:
        return None
    rows = []
    for finding, measured in first.by_finding.items():
        others = [each.row(task) for each in evaluations]
        figures = [format_estimate(row.by_finding.get(finding, {}).get("P@10")) if row else NONE for row in others]
        studies = evaluations[0].data.findings.get(finding, 0)
        rows.append([finding, str(studies), *figures, format_chance(measured.get("P@10"))])
    return Table(
        title=f"P@10 by finding: {TASKS[task].title.split(',')[0].lower()}",
        note="Studies: number of studies with the finding. P@10 with 95 % interval.",
        headings=["Finding", "Studies", *(each.model for each in evaluations), "Chance"],
        rows=rows,
    )


def tests(comparison: Comparison) -> Table:
    """The paired tests."""
    rows = [
        [
            TASKS[test.task].title,
            test.measure,
            f"{test.better} − {test.worse}",
            f"{test.difference:.3f} [{test.low:.3f}, {test.high:.3f}]",
            test.method,
            format_p(test.p).removeprefix("p ").removeprefix("= "),
            format_p(test.p_corrected).removeprefix("p ").removeprefix("= "),
            "yes" if test.is_shown else "no difference shown",
        ]
        for test in comparison.tests
    ]
    return Table(
        title="Differences between models",
        note="Paired tests by study: randomisation for exact pairs; bootstrap of queries and gallery together for findings, "
        f"because each image is in both. p is corrected for {len(rows)} comparisons (Holm).",
        headings=["Task", "Measure", "Models", "Difference", "Test", "p", "p corrected", "Shown"],
        rows=rows,
    )


def search_checks(evaluations: Sequence[Evaluation]) -> Table:
    """Recall of the index against exact search, and the result of the negation probes."""
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
        title="Index recall and negation",
        note="ANN recall: nearest images of the engine against exact search. Negated: share of the first ten hits with a "
        "finding that the query negates; with interpretation of the text, without it, and in the whole collection (chance). "
        f"Mean over {max(len(each.probes) for each in evaluations)} queries.",
        headings=["Model", "ANN recall@10", "ANN recall@100", "Negated", "Negated, uninterpreted", "Chance"],
        rows=rows,
    )


def provenance(evaluations: Sequence[Evaluation]) -> Table:
    """Model, data, protocol, machine and versions of each evaluation."""
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
        note="Results are comparable only if data and protocol have the same fingerprint.",
        headings=["Model", "Bundle", "Kind", "Data", "Protocol", "Measured", "Machine", "Versions"],
        rows=rows,
    )


def protocol_lines(evaluation: Evaluation) -> list[str]:
    """Data and rules of an evaluation, in sentences."""
    data, rules = evaluation.data, evaluation.protocol
    labels = {
        "indexing": "from the indexing",
        "text": "from the report text; results of systems that read reports are circular",
        "present": "of the collection, which does not record whether they come from report text",
    }[rules.judged_by]
    return [
        f"Data: {', '.join(data.datasets)}; {data.images:,} images ({rules.view or 'all views'}) of {data.studies:,} "
        f"studies, split {rules.split or 'none: the whole collection'}; {data.report_groups:,} distinct reports; "
        f"{data.unlabelled:,} images without a label; {data.collection_images:,} images in the collection.",
        f"Labels: {labels}. Vocabulary: {rules.vocabulary}, findings with at least {rules.smallest} studies.",
        f"Report text: {rules.report_text}. Excluded from the gallery: {rules.dedupe}. Ties: {rules.ties}. At most "
        f"{rules.queries:,} queries per task or finding; rankings of {rules.depth:,}; {rules.resamples:,} resamples.",
        "ANN recall, negation, times and examples always use the whole collection.",
    ]


def _first_with(evaluations: Sequence[Evaluation], task: str) -> Evaluation | None:
    """The first evaluation that has `task`; a model without a text tower lacks some tasks."""
    return next((each for each in evaluations if each.row(task)), None)


def _is_own(evaluation: Evaluation, row: TaskResult) -> bool:
    """Whether a row belongs to the model, reranked or not, and not to a baseline."""
    return row.system in (evaluation.model, f"{evaluation.model}, reranked")


def _costs(cost: Resources | None) -> list[str]:
    if cost is None:
        return [NONE] * 5
    built = f"{cost.build.seconds:.0f} s" if cost.build else "not recorded"
    query = f"{cost.query_reranked.p50_ms:.1f} ms" if cost.query_reranked else NONE
    vram = format_bytes(cost.gpu_memory_bytes) if cost.device == "cuda" else "no GPU"
    return [query, format_bytes(cost.index_bytes), format_bytes(cost.peak_memory_bytes), vram, built]
