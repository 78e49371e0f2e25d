"""`cxr evaluate`: measure one model."""

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
from evaluation.evaluation_process import measure_model
from evaluation.report.markdown import render_evaluation
from evaluation.results import to_document
from retrieval.atomic_files import temporary_folder


def evaluate(
    model: Annotated[str, typer.Option("--model", help="An installed model; without --data it needs a collection.")],
    data: DataOption = None,
    splits_csv: SplitsOption = None,
    split: SplitOption = None,
    view: ViewOption = "frontal",
    vocabulary: VocabularyOption = "chexpert",
    queries: QueriesOption = 500,
    resamples: ResamplesOption = 1000,
    seed: SeedOption = 0,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for <model>.json and <model>.md.")] = None,
    index: IndexOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure one model, beside chance and simple baselines.

    The result covers exact pairs of image and report, similar images by finding, negation, recall of the index, times
    and sizes.

    \b
    cxr evaluate --model biomedclip
    cxr evaluate --model biomedclip --splits-csv splits.csv --split test --out evaluation
    cxr evaluate --model biomedclip --data indiana --split test --json
    """
    protocol, studies = read_protocol(view, vocabulary, queries, resamples, seed, split, splits_csv, data)
    with temporary_folder("cxr-evaluate", notes=read_settings().drafts_dir) as scratch:
        (measurement,) = plan_measurements([model], protocol, studies, data, scratch, index, device)
        with model_progress(model) as progress:
            evaluation = measure_model(measurement, progress)
    text = render_evaluation(evaluation)
    if out:
        write_evaluation(evaluation, out)
        (out / f"{model}.md").write_text(text, encoding="utf-8")
        say(f"written: {out / f'{model}.json'} and {model}.md")
    if as_json:
        print_json(to_document(evaluation))
    elif not out:
        typer.echo(text)
