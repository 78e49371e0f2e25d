"""`cxr compare`: models side by side, on the same queries."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxr.console import DeviceOption, IndexOption, JsonOption, print_json, read_settings, say
from cxr.evaluate import (
    DataOption,
    QueriesOption,
    ResamplesOption,
    SeedOption,
    SplitOption,
    SplitsOption,
    ViewOption,
    VocabularyOption,
    make_jobs,
    read_protocol,
    say_step,
    write_evaluation,
)
from evaluation.comparison import compare as compare_evaluations
from evaluation.jobs import run_apart
from evaluation.report.page import write_reports
from evaluation.results import read_evaluation, to_document
from retrieval.atomic_files import temporary_folder


def compare(
    models: Annotated[
        str | None, typer.Option("--models", help="Models, comma-separated: measured here, in turn.")
    ] = None,
    evaluations: Annotated[
        list[Path] | None, typer.Option("--evaluation", help="A file of `cxr evaluate --out` to add; repeatable.")
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
        Path, typer.Option("--out", help="Folder for comparison.json, .md and .html, and each model's evaluation.")
    ] = Path("comparison"),
    fine_tuned: Annotated[
        list[str] | None,
        typer.Option("--fine-tuned", help="Model that was trained on such images, for the verdict; repeatable."),
    ] = None,
    thumbnails: Annotated[
        bool, typer.Option(help="Put thumbnails, which are images of patients, into the page.")
    ] = True,
    index: IndexOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure models on the same queries and say which is for which use; differences are tested, chance stands beside.

    Refused where protocols or data differ.

    \b
    cxr compare --models biomedclip,medsiglip
    cxr compare --models biomedclip,medsiglip --data indiana --split val --out comparison
    cxr compare --evaluation a/biomedclip.json --evaluation b/medsiglip.json
    """
    settings = read_settings(index, device)
    measured = [read_evaluation(path.read_bytes(), str(path)) for path in evaluations or []]
    names = [name.strip() for name in (models or "").split(",") if name.strip()]
    media_dir = settings.media_dir
    with temporary_folder("cxr-compare", notes=settings.drafts_dir) as scratch:
        if names:
            protocol, studies = read_protocol(view, vocabulary, queries, resamples, seed, split, splits_csv, data)
            measured += run_apart(make_jobs(names, protocol, studies, data, scratch, index, device), say_step)
            media_dir = scratch / "media" if data else media_dir
        for each in measured:
            write_evaluation(each, out)
        comparison = compare_evaluations(measured, fine_tuned=fine_tuned or [])
        written = write_reports(comparison, out, media_dir if thumbnails else None)
    for line in comparison.verdict:
        say(line)
    say("written: " + ", ".join(str(path) for path in written))
    if as_json:
        print_json(to_document(comparison))
