"""The commands `cxr evaluate` and `cxr compare`, and the mounting of all of the evaluation's commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from retrieval.console import DeviceOption, IndexOption, JsonOption, print_json, read_settings, say
from retrieval.evaluation import doctor_cli
from retrieval.evaluation.tune_cli import tune

if TYPE_CHECKING:
    from retrieval.evaluation.jobs import Archives, Job
    from retrieval.evaluation.records import Evaluation, Protocol

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
_archives: Archives


def mount(app: typer.Typer, *, archives: Archives) -> None:
    """Add the commands to `app`; `archives` is what they need of ingest."""
    global _archives
    _archives = archives
    app.command()(evaluate)
    app.command()(compare)
    doctor_cli.mount(app, archives=archives)
    app.command()(tune)


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
    from retrieval.drafts import scratch_folder
    from retrieval.evaluation.jobs import run
    from retrieval.evaluation.records import to_document
    from retrieval.evaluation.report.markdown import render_evaluation

    protocol, studies = _protocol(view, vocabulary, queries, resamples, seed, split, splits_csv, data)
    with scratch_folder("cxr-evaluate", notes=read_settings().drafts_dir) as scratch:
        (job,) = _jobs([model], protocol, studies, data, scratch, index, device)
        measured = run(job, lambda what: say(f"{model}: {what}"))
    text = render_evaluation(measured)
    if out:
        _write_evaluation(measured, out)
        (out / f"{model}.md").write_text(text, encoding="utf-8")
        say(f"written: {out / f'{model}.json'} and {model}.md")
    if as_json:
        print_json(to_document(measured))
    elif not out:
        typer.echo(text)


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
    from retrieval.drafts import scratch_folder
    from retrieval.evaluation.comparison import compare as compare_evaluations
    from retrieval.evaluation.jobs import run_apart
    from retrieval.evaluation.records import read_evaluation, to_document
    from retrieval.evaluation.report.page import write_reports

    settings = read_settings(index, device)
    measured = [read_evaluation(path.read_bytes(), str(path)) for path in evaluations or []]
    names = [name.strip() for name in (models or "").split(",") if name.strip()]
    media_dir = settings.media_dir
    with scratch_folder("cxr-compare", notes=settings.drafts_dir) as scratch:
        if names:
            protocol, studies = _protocol(view, vocabulary, queries, resamples, seed, split, splits_csv, data)
            measured += run_apart(_jobs(names, protocol, studies, data, scratch, index, device))
            media_dir = scratch / "media" if data else media_dir
        for each in measured:
            _write_evaluation(each, out)
        comparison = compare_evaluations(measured, fine_tuned=fine_tuned or [])
        written = write_reports(comparison, out, media_dir if thumbnails else None)
    for line in comparison.verdict:
        say(line)
    say("written: " + ", ".join(str(path) for path in written))
    if as_json:
        print_json(to_document(comparison))


def _protocol(
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
    from retrieval.errors import InvalidRequest
    from retrieval.evaluation.records import Protocol
    from retrieval.evaluation.splits import read_split

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


def _jobs(
    names: list[str],
    protocol: Protocol,
    studies: frozenset[str] | None,
    data: Path | None,
    scratch: Path,
    index: str | None,
    device: str | None,
) -> list[Job]:
    from retrieval.bundle import find_bundle
    from retrieval.evaluation.jobs import Job

    settings = read_settings(index, device)
    for name in names:
        find_bundle(name, settings.models_dir, verify=False)  # a name mistyped last must not cost the hours before it
    return [Job(name, settings, protocol, studies, _archives, data, scratch if data else None) for name in names]


def _write_evaluation(evaluation: Evaluation, folder: Path) -> None:
    import msgspec

    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{evaluation.model}.json").write_bytes(msgspec.json.format(msgspec.json.encode(evaluation), indent=1))
