"""The commands `cxr experiment start`, `status` and `stop`."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from cxr.console import IndexOption, JsonOption, print_json, read_settings, say

if TYPE_CHECKING:
    from service.experiments.entities import Experiment
    from service.experiments.store import ExperimentStore

NameArgument = Annotated[str, typer.Argument(help="Name of the experiment.")]

app = typer.Typer(
    name="experiment",
    help="Compare two models live, by what users click and rate.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.command()
def start(
    name: NameArgument,
    kind: Annotated[
        str,
        typer.Option(
            help="split: a session gets one of the models. interleave: hits of both in one list. "
            "shadow: A answers, B answers unseen."
        ),
    ],
    models: Annotated[str, typer.Option(help="A,B: two models that hold the same images.")],
    share: Annotated[float, typer.Option(help="Of a split: per cent of the sessions that B answers.")] = 50.0,
    index: IndexOption = None,
    as_json: JsonOption = False,
) -> None:
    """Begin an experiment on all searches that name no model. A running service notices within about a second.

    One experiment runs at a time. Both models must be ingested and hold as many images of the same datasets.

    \b
    cxr experiment start autumn --kind interleave --models phantom-siglip,phantom-clip
    cxr experiment start careful --kind split --models phantom-siglip,phantom-clip --share 10
    cxr experiment start dress-rehearsal --kind shadow --models phantom-siglip,phantom-clip
    """
    from retrieval.catalog import Catalog
    from retrieval.errors import InvalidRequest
    from service.experiments.design import design
    from service.experiments.entities import Kind
    from service.experiments.store import ExperimentStore

    chosen: Any = kind
    if chosen not in get_args(Kind):
        raise InvalidRequest(f"--kind must be one of {', '.join(get_args(Kind))}; found {kind!r}")
    pair = [model.strip() for model in models.split(",")]
    if len(pair) != 2 or not all(pair):
        raise InvalidRequest(f"--models takes two models, as A,B; found {models!r}")
    if share != 50.0 and chosen != "split":
        raise InvalidRequest("--share is for --kind split")
    settings = read_settings(index)
    with Catalog(settings) as catalog, closing(ExperimentStore(settings.home)) as store:
        experiment = design(catalog, name=name, kind=chosen, model_a=pair[0], model_b=pair[1], share=share)
        store.start(experiment)
        document = _describe(store, experiment)
    if as_json:
        print_json(document)
    else:
        say(f"experiment {name} ({kind}) of {pair[0]} and {pair[1]} runs; see `cxr experiment status {name}`")


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(help="Name of the experiment. [default: all]")] = None,
    as_json: JsonOption = False,
) -> None:
    """What experiments have shown so far. You may look as often as you like: the test allows for it.

    \b
    cxr experiment status
    cxr experiment status autumn --json
    """
    from service.experiments.store import ExperimentStore

    with closing(ExperimentStore(read_settings().home)) as store:
        experiments = store.experiments() if name is None else [store.experiment(name)]
        documents = [_describe(store, experiment) for experiment in experiments]
    if as_json:
        print_json({"experiments": documents} if name is None else documents[0])
        return
    if not documents:
        say("there is no experiment yet; `cxr experiment start --help` says how to begin one")
    for document in documents:
        _print(document)


@app.command()
def stop(
    name: NameArgument,
    use: Annotated[
        bool,
        typer.Option(
            "--use", help="Make the winner the active model, as `cxr use` does. Without a winner nothing is done."
        ),
    ] = False,
    index: IndexOption = None,
    as_json: JsonOption = False,
) -> None:
    """End an experiment and keep what it has shown. Searches that name no model get the active one again.

    \b
    cxr experiment stop autumn
    cxr experiment stop autumn --use
    """
    from retrieval.catalog import Catalog
    from service.experiments.analysis import summarize
    from service.experiments.experiment_errors import ExperimentStopped, NoWinner
    from service.experiments.store import ExperimentStore

    settings = read_settings(index)
    with closing(ExperimentStore(settings.home)) as store:
        experiment = store.experiment(name)
        if experiment.stopped_at is not None:
            raise ExperimentStopped(f"the experiment {name!r} was stopped before")
        result = summarize(store, experiment)
        if use:
            if result["winner"] is None:
                raise NoWinner(f"{result['verdict']}; the experiment {name!r} goes on (stop it without --use)")
            # Before the end: if the winner cannot be made active, nothing has changed.
            with Catalog(settings) as catalog:
                catalog.activate(result["winner"])
        store.stop(name, result)
        document = _describe(store, store.experiment(name))
    if as_json:
        print_json(document | {"active": result["winner"] if use else None})
        return
    _print(document)
    if use:
        say(f"{result['winner']} is active")


def _describe(store: ExperimentStore, experiment: Experiment) -> dict[str, Any]:
    from datetime import UTC, datetime

    from service.experiments.analysis import describe

    document = describe(store, experiment)
    for moment in ("started_at", "stopped_at"):
        if document[moment] is not None:
            document[moment] = datetime.fromtimestamp(document[moment], UTC).isoformat(timespec="seconds")
    return document


def _print(document: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    ended = f", stopped {document['stopped_at']}" if document["stopped_at"] else ", running"
    table = Table(show_header=False, title=f"{document['name']} ({document['kind']}{ended})", title_justify="left")
    rows: dict[str, Any] = {
        "models": " and ".join(document["models"]),
        "searches, sessions": f"{document['exposures']:,}, {document['sessions']:,}",
    }
    if document["kind"] == "interleave":
        rows["searches won"] = _counts(document["wins"])
        rows["ties, without feedback"] = f"{document['ties']:,}, {document['without_feedback']:,}"
    elif document["kind"] == "split":
        rows["sessions"] = _counts(document["sessions_by_model"])
        rows["with a success"] = _counts(document["successes"])
    else:
        rows["compared"] = f"{document['compared']:,}"
        rows["failed"] = _counts(document["failed"]) or "none"
        rows["hits in common"] = "-" if document["overlap"] is None else f"{document['overlap']:.1%}"
        for model, times in document["latency_ms"].items():
            rows[f"ms, {model}"] = f"median {times['p50']:.1f}, 95th {times['p95']:.1f}" if times else "-"
    if "e_value" in document:
        low, high = document["interval"]
        value = "-" if document["estimate"] is None else f"{document['estimate']:.3f}"
        rows[document["measure"]] = f"{value} ({low:.3f} to {high:.3f})"
        rows["e-value"] = f"{document['e_value']:.3g} (a winner from {1 / document['alpha']:.0f})"
    rows["verdict"] = document["verdict"]
    for label, value in rows.items():
        table.add_row(label, str(value))
    Console().print(table)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
