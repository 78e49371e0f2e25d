"""`cxr experiment start`, `status` and `stop`: two models compared live."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from typing import Annotated, Any, get_args

import typer
from rich.console import Console
from rich.table import Table

from cxr.console import print_json, say
from cxr.options import IndexOption, JsonOption, require_choice
from cxr.settings import read_settings
from retrieval.catalog import Catalog
from retrieval.errors import InvalidRequest
from service.experiments.analysis import describe, summarize
from service.experiments.design import design_experiment
from service.experiments.entities import Experiment, Kind
from service.experiments.experiment_errors import ExperimentStopped, NoWinner
from service.experiments.store import ExperimentStore

NameArgument = Annotated[str, typer.Argument(help="Name of the experiment.")]

app = typer.Typer(
    name="experiment",
    help="Compare two models live, by clicks and ratings of users.",
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
            help="split: each session gets one of the models. interleave: one list with hits of both models. "
            "shadow: A answers; B runs in the background and its hits are not shown."
        ),
    ],
    models: Annotated[str, typer.Option(help="Two models, as A,B. Their collections must hold the same images.")],
    share: Annotated[float, typer.Option(help="For split: percentage of sessions that get B.")] = 50.0,
    index: IndexOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start an experiment on all searches that name no model.

    A running service takes part within about a second. One experiment runs at a time. Both collections must hold the same
    number of images of the same datasets.

    \b
    cxr experiment start autumn --kind interleave --models phantom-siglip,phantom-clip
    cxr experiment start careful --kind split --models phantom-siglip,phantom-clip --share 10
    cxr experiment start dress-rehearsal --kind shadow --models phantom-siglip,phantom-clip
    """
    known_kind: Any = kind
    require_choice("--kind", kind, get_args(Kind))
    pair = [model.strip() for model in models.split(",")]
    if len(pair) != 2 or not all(pair):
        raise InvalidRequest(f"--models takes two models, as A,B; found {models!r}")
    if share != 50.0 and known_kind != "split":
        raise InvalidRequest("--share needs --kind split")
    settings = read_settings(index)
    with Catalog(settings) as catalog, closing(ExperimentStore(settings.home)) as store:
        experiment = design_experiment(
            catalog, name=name, kind=known_kind, model_a=pair[0], model_b=pair[1], share=share
        )
        store.start(experiment)
        document = _describe_experiment(store, experiment)
    if as_json:
        print_json(document)
    else:
        say(f"experiment {name} ({kind}) of {pair[0]} and {pair[1]} is running; see `cxr experiment status {name}`")


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(help="Name of the experiment. [default: all]")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the results of experiments so far.

    You can look at any time: the sequential test stays valid.

    \b
    cxr experiment status
    cxr experiment status autumn --json
    """
    with closing(ExperimentStore(read_settings().home)) as store:
        experiments = store.experiments() if name is None else [store.experiment(name)]
        documents = [_describe_experiment(store, experiment) for experiment in experiments]
    if as_json:
        print_json({"experiments": documents} if name is None else documents[0])
        return
    if not documents:
        say("no experiment yet; `cxr experiment start --help` shows how to start one")
    for document in documents:
        _print_experiment(document)


@app.command()
def stop(
    name: NameArgument,
    use: Annotated[
        bool,
        typer.Option(
            "--use",
            help="Make the winner the active model, as `cxr use` does. Without a winner the experiment continues.",
        ),
    ] = False,
    index: IndexOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop an experiment and store its result.

    Searches that name no model get the active model again.

    \b
    cxr experiment stop autumn
    cxr experiment stop autumn --use
    """
    settings = read_settings(index)
    with closing(ExperimentStore(settings.home)) as store:
        experiment = store.experiment(name)
        if experiment.stopped_at is not None:
            raise ExperimentStopped(f"the experiment {name!r} has already been stopped")
        result = summarize(store, experiment)
        if use:
            if result["winner"] is None:
                raise NoWinner(f"{result['verdict']}; the experiment {name!r} continues (to stop it, omit --use)")
            # Before `stop`: if this fails, the experiment continues.
            with Catalog(settings) as catalog:
                catalog.activate(result["winner"])
        store.stop(name, result)
        document = _describe_experiment(store, store.experiment(name))
    if as_json:
        print_json(document | {"active": result["winner"] if use else None})
        return
    _print_experiment(document)
    if use:
        say(f"{result['winner']} is active")


def _describe_experiment(store: ExperimentStore, experiment: Experiment) -> dict[str, Any]:
    document = describe(store, experiment)
    for moment in ("started_at", "stopped_at"):
        if document[moment] is not None:
            document[moment] = datetime.fromtimestamp(document[moment], UTC).isoformat(timespec="seconds")
    return document


def _print_experiment(document: dict[str, Any]) -> None:
    ended = f", stopped {document['stopped_at']}" if document["stopped_at"] else ", running"
    table = Table(show_header=False, title=f"{document['name']} ({document['kind']}{ended})", title_justify="left")
    rows: dict[str, Any] = {
        "models": " and ".join(document["models"]),
        "searches, sessions": f"{document['exposures']:,}, {document['sessions']:,}",
    }
    if document["kind"] == "interleave":
        rows["wins"] = _join_counts(document["wins"])
        rows["ties, without feedback"] = f"{document['ties']:,}, {document['without_feedback']:,}"
    elif document["kind"] == "split":
        rows["sessions"] = _join_counts(document["sessions_by_model"])
        rows["with a success"] = _join_counts(document["successes"])
    else:
        rows["compared"] = f"{document['compared']:,}"
        rows["failed"] = _join_counts(document["failed"]) or "none"
        rows["hits in common"] = "-" if document["overlap"] is None else f"{document['overlap']:.1%}"
        for model, times in document["latency_ms"].items():
            rows[f"ms, {model}"] = f"median {times['p50']:.1f}, 95th {times['p95']:.1f}" if times else "-"
    if "e_value" in document:
        low, high = document["interval"]
        estimate = "-" if document["estimate"] is None else f"{document['estimate']:.3f}"
        rows[document["measure"]] = f"{estimate} ({low:.3f} to {high:.3f})"
        rows["e-value"] = f"{document['e_value']:.3g} (winner at {1 / document['alpha']:.0f} or more)"
    rows["verdict"] = document["verdict"]
    for label, value in rows.items():
        table.add_row(label, str(value))
    Console().print(table)


def _join_counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
