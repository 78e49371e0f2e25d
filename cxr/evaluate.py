"""`cxr evaluate`: one model, measured."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any, cast

import msgspec
import typer

from archives.splits import read_split
from cxr.console import DeviceOption, IndexOption, JsonOption, print_json, read_settings, say
from evaluation.jobs import Job, run
from evaluation.report.markdown import render_evaluation
from evaluation.results import Evaluation, Protocol, to_document
from retrieval.atomic_files import temporary_folder
from retrieval.errors import InvalidRequest
from retrieval.model.bundle import find_bundle

DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data", help="Folder of an archive in the Indiana form, ingested for this alone; default: the collection."
    ),
]
SplitOption = Annotated[str | None, typer.Option("--split", help="Judge the studies of this split alone, such as val.")]
SplitsOption = Annotated[
    Path | None, typer.Option("--splits-csv", help="Table of study_id (or uid) and split; default <data>/splits.csv.")
]
ViewOption = Annotated[str, typer.Option("--view", help="frontal, lateral, unknown or all.")]
VocabularyOption = Annotated[
    str, typer.Option("--vocabulary", help="Findings that judge: chexpert, or heads of the Indiana indexing.")
]
QueriesOption = Annotated[int, typer.Option("--queries", min=10, max=100_000, help="Most queries a task, or finding.")]
ResamplesOption = Annotated[int, typer.Option("--resamples", min=100, max=100_000, help="Resamples of an interval.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of samples and resamples.")]

_VIEWS = ("frontal", "lateral", "unknown", "all")
_VOCABULARIES = ("chexpert", "heads")


def evaluate(
    model: Annotated[str, typer.Option("--model", help="A model that is installed and, without --data, ingested.")],
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
    """Measure one model: pairs, likeness by finding, denials, recall of the index, times and sizes; chance beside each.

    \b
    cxr evaluate --model biomedclip
    cxr evaluate --model biomedclip --splits-csv splits.csv --split val --out evaluation
    cxr evaluate --model biomedclip --data indiana --split val --json
    """

    protocol, studies = read_protocol(view, vocabulary, queries, resamples, seed, split, splits_csv, data)
    with temporary_folder("cxr-evaluate", notes=read_settings().drafts_dir) as scratch:
        (job,) = make_jobs([model], protocol, studies, data, scratch, index, device)
        measured = run(job, partial(say_step, model))
    text = render_evaluation(measured)
    if out:
        write_evaluation(measured, out)
        (out / f"{model}.md").write_text(text, encoding="utf-8")
        say(f"written: {out / f'{model}.json'} and {model}.md")
    if as_json:
        print_json(to_document(measured))
    elif not out:
        typer.echo(text)


def read_protocol(
    view: str,
    vocabulary: str,
    queries: int,
    resamples: int,
    seed: int,
    split: str | None,
    splits_csv: Path | None,
    data: Path | None,
) -> tuple[Protocol, frozenset[str] | None]:
    """The rules that the options ask for, and the studies of the split."""

    for name, value, allowed in (("view", view, _VIEWS), ("vocabulary", vocabulary, _VOCABULARIES)):
        if value not in allowed:
            raise InvalidRequest(f"{name} must be one of {', '.join(allowed)}, found {value!r}")
    table = splits_csv or (data / "splits.csv" if data and split else None)
    if split and table is None:
        raise InvalidRequest("--split needs --splits-csv: a collection does not know which split its studies are of")
    if table and not split:
        raise InvalidRequest("--splits-csv needs --split: which of its splits is judged")
    protocol = Protocol(
        view=None if view == "all" else cast(Any, view),
        vocabulary=cast(Any, vocabulary),
        split=split,
        queries=queries,
        resamples=resamples,
        seed=seed,
    )
    return protocol, read_split(table, split) if table and split else None


def make_jobs(
    names: list[str],
    protocol: Protocol,
    studies: frozenset[str] | None,
    data: Path | None,
    scratch: Path,
    index: str | None,
    device: str | None,
) -> list[Job]:
    """One job for each model. Fails early if a model is not installed."""

    settings = read_settings(index, device)
    for name in names:
        find_bundle(name, settings.models_dir, verify=False)  # a name mistyped last must not cost the hours before it
    return [Job(name, settings, protocol, studies, data, scratch if data else None) for name in names]


def write_evaluation(evaluation: Evaluation, folder: Path) -> None:
    """Write `<model>.json` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{evaluation.model}.json").write_bytes(msgspec.json.format(msgspec.json.encode(evaluation), indent=1))


def say_step(model: str, step: str) -> None:
    """Say which step of a model's evaluation begins."""
    say(f"{model}: {step}")
