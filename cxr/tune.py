"""`cxr tune`: fit the rerank weights for image queries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from archives.splits import read_split
from cxr.console import print_json, say
from cxr.options import VIEWS, IndexOption, JsonOption, require_choice
from cxr.progress import progress_bar
from cxr.settings import read_settings
from evaluation.results import Protocol, to_document
from evaluation.tuning import Tuning
from evaluation.tuning import tune as fit_weights
from evaluation.verdict import format_estimate, format_p
from retrieval.index.engines import open_index
from retrieval.index.schema import collection_name
from retrieval.search.saved_presets import save_preset


def tune(
    model: Annotated[str, typer.Option("--model", help="A model that has a collection; see `cxr models`.")],
    splits_csv: Annotated[
        Path | None,
        typer.Option("--splits-csv", help="Table of study_id (or uid) and split. [default: two halves of the studies]"),
    ] = None,
    fit: Annotated[str, typer.Option("--fit", help="Split to fit on, with --splits-csv.")] = "train",
    report: Annotated[str, typer.Option("--report", help="Split to report on, with --splits-csv.")] = "val",
    view: Annotated[str, typer.Option("--view", help="frontal, lateral, unknown or all.")] = "frontal",
    out: Annotated[Path | None, typer.Option("--out", help="Write the weights to this JSON file.")] = None,
    save: Annotated[
        str | None, typer.Option("--save", help="Save the weights as a preset that --rerank finds by this name.")
    ] = None,
    index: IndexOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fit the rerank weights for image queries.

    The command fits the weights on some studies and measures the gain on others. It saves them even if no gain is shown;
    the last line says whether one is.

    \b
    cxr tune --model biomedclip --save tuned
    cxr search --image case.png --model biomedclip --rerank tuned
    cxr tune --model biomedclip --splits-csv splits.csv --fit train --report val --out weights.json
    """
    require_choice("--view", view, VIEWS)
    protocol = Protocol(view=None if view == "all" else cast(Any, view))
    fit_studies = read_split(splits_csv, fit) if splits_csv else None
    report_studies = read_split(splits_csv, report) if splits_csv else None
    settings = read_settings(index)
    opened = open_index(settings)
    try:
        with progress_bar() as progress:
            tuning = fit_weights(
                opened.open(collection_name(model)),
                model,
                protocol,
                fit=fit_studies,
                report=report_studies,
                progress=progress,
            )
    finally:
        opened.close()
    if out:
        out.write_text(json.dumps(tuning.weights) + "\n", encoding="utf-8")
    if save:
        say(f"written: {save_preset(settings.home, save, tuning.weights)}")
    if as_json:
        print_json(to_document(tuning))
    else:
        typer.echo(json.dumps(tuning.weights))
    for line in describe(tuning):
        say(line)


def describe(tuning: Tuning) -> list[str]:
    """The result in sentences."""
    gain = f"{tuning.gain:+.3f} [{tuning.gain_low:+.3f}, {tuning.gain_high:+.3f}]"
    lines = [
        f"fitted on {tuning.fitted_on:,} studies: AP {tuning.fitted_ap_before:.3f} -> {tuning.fitted_ap_after:.3f}",
        f"on {tuning.reported_on:,} other studies: P@10 {format_estimate(tuning.before)} -> "
        f"{format_estimate(tuning.after)}, gain {gain}, {format_p(tuning.p)}",
    ]
    if tuning.judged_by != "indexing":
        lines.append("the labels may come from the report text; this favours the weights of findings and impression")
    lines.append("better than the starting weights" if tuning.is_shown else "no gain shown: keep the starting weights")
    return lines
