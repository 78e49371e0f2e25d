"""`cxr compare`: measure several models on the same queries."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxr.console import print_json, say
from cxr.evaluation_options import (
    DataOption,
    QueriesOption,
    ResamplesOption,
    SeedOption,
    SplitOption,
    SplitsOption,
    ViewOption,
    VocabularyOption,
    model_progress,
    plan_measurements,
    read_protocol,
    write_evaluation,
)
from cxr.options import DeviceOption, IndexOption, JsonOption
from cxr.settings import read_settings
from evaluation.comparison import compare as compare_evaluations
from evaluation.evaluation_process import measure_in_processes
from evaluation.report.page import write_reports
from evaluation.results import read_evaluation, to_document
from retrieval.atomic_files import temporary_folder


def compare(
    models: Annotated[str | None, typer.Option("--models", help="Models to measure, comma-separated.")] = None,
    evaluations: Annotated[
        list[Path] | None,
        typer.Option("--evaluation", help="Add an evaluation that `cxr evaluate --out` wrote; repeatable."),
    ] = None,
    data: DataOption = None,
    splits_csv: SplitsOption = None,
    split: SplitOption = None,
    view: ViewOption = "frontal",
    vocabulary: VocabularyOption = "chexpert",
    queries: QueriesOption = 500,
    resamples: ResamplesOption = 1000,
    seed: SeedOption = 0,
    out: Annotated[
        Path, typer.Option("--out", help="Folder for comparison.json, .md, .html and the evaluation of each model.")
    ] = Path("comparison"),
    fine_tuned: Annotated[
        list[str] | None,
        typer.Option("--fine-tuned", help="Model trained on this data; the verdict marks it. Repeatable."),
    ] = None,
    thumbnails: Annotated[
        bool, typer.Option(help="Include thumbnails in the page. They are images of patients.")
    ] = True,
    index: IndexOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure several models on the same queries.

    The report says which model suits which use, tests the differences and shows chance. The command refuses evaluations
    with different protocols or data.

    \b
    cxr compare --models biomedclip,medsiglip-448
    cxr compare --models biomedclip,medsiglip-448 --data indiana --split test --out comparison
    cxr compare --evaluation a/biomedclip.json --evaluation b/medsiglip-448.json
    """
    settings = read_settings(index, device)
    compared = [read_evaluation(path.read_bytes(), str(path)) for path in evaluations or []]
    names = [name.strip() for name in (models or "").split(",") if name.strip()]
    media_dir = settings.media_dir
    with temporary_folder("cxr-compare", notes=settings.drafts_dir) as scratch:
        if names:
            protocol, studies = read_protocol(view, vocabulary, queries, resamples, seed, split, splits_csv, data)
            measurements = plan_measurements(names, protocol, studies, data, scratch, index, device)
            compared += measure_in_processes(measurements, model_progress)
            media_dir = scratch / "media" if data else media_dir
        for evaluation in compared:
            write_evaluation(evaluation, out)
        comparison = compare_evaluations(compared, fine_tuned=fine_tuned or [])
        written = write_reports(comparison, out, media_dir if thumbnails else None)
    for line in comparison.verdict:
        say(line)
    say("written: " + ", ".join(str(path) for path in written))
    if as_json:
        print_json(to_document(comparison))
