"""The command `cxr tune`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from archives.splits import read_split
from cxr.console import IndexOption, JsonOption, print_json, read_settings, say
from evaluation.results import Protocol, to_document
from evaluation.tuning import Tuning
from evaluation.tuning import tune as fit_weights
from evaluation.verdict import show, show_p
from retrieval.errors import InvalidRequest
from retrieval.index import open_index
from retrieval.index.schema import collection_name
from retrieval.search.presets import save_preset


def tune(
    model: Annotated[str, typer.Option("--model", help="A model that has a collection.")],
    splits_csv: Annotated[
        Path | None,
        typer.Option("--splits-csv", help="Table of study_id (or uid) and split; default: two halves by study."),
    ] = None,
    fit: Annotated[str, typer.Option("--fit", help="Split to fit on; with --splits-csv.")] = "train",
    report: Annotated[str, typer.Option("--report", help="Split to report on; with --splits-csv.")] = "val",
    view: Annotated[str, typer.Option("--view", help="frontal, lateral, unknown or all.")] = "frontal",
    out: Annotated[Path | None, typer.Option("--out", help="File for the weights, as JSON.")] = None,
    save: Annotated[
        str | None, typer.Option("--save", help="Name under which --rerank shall find the weights.")
    ] = None,
    index: IndexOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fit the weights of the rerank for image queries on some studies, and measure on others what that brings.

    They are kept also where no gain is shown; the last line says which.

    \b
    cxr tune --model biomedclip --save tuned
    cxr search --image case.png --model biomedclip --rerank tuned
    cxr tune --model biomedclip --splits-csv splits.csv --fit train --report val --out weights.json
    """

    if view not in ("frontal", "lateral", "unknown", "all"):
        raise InvalidRequest(f"view must be one of frontal, lateral, unknown, all, found {view!r}")
    protocol = Protocol(view=None if view == "all" else cast(Any, view))
    sets = (read_split(splits_csv, fit), read_split(splits_csv, report)) if splits_csv else (None, None)
    settings = read_settings(index)
    opened = open_index(settings)
    try:
        found = fit_weights(opened.open(collection_name(model)), model, protocol, fit=sets[0], report=sets[1])
    finally:
        opened.close()
    if out:
        out.write_text(json.dumps(found.weights) + "\n", encoding="utf-8")
    if save:
        say(f"written: {save_preset(settings.home, save, found.weights)}")
    if as_json:
        print_json(to_document(found))
    else:
        typer.echo(json.dumps(found.weights))
    for line in describe(found):
        say(line)


def describe(found: Tuning) -> list[str]:
    """What was found, in sentences."""

    lines = [
        f"fitted on {found.fitted_on:,} studies: AP {found.fitted_ap_before:.3f} -> {found.fitted_ap_after:.3f}",
        f"on {found.reported_on:,} others: P@10 {show(found.before)} -> {show(found.after)}, "
        f"gain {found.gain:+.3f} [{found.gain_low:+.3f}, {found.gain_high:+.3f}], {show_p(found.p)}",
    ]
    if found.judged_by != "indexing":
        lines.append("the labels may come from the report text: weights of findings and impression are then favoured")
    lines.append("better than the starting weights" if found.is_shown else "no gain shown: keep the starting weights")
    return lines
