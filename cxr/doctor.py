"""`cxr doctor`: check bundles, collections, thumbnails and ledgers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from cxr.console import print_json
from cxr.options import IndexOption, JsonOption
from cxr.settings import read_settings
from ingest.doctor.checks import CheckResult, Diagnosis
from ingest.doctor.collection import check_thumbnails, diagnose
from ingest.doctor.home import check_home
from ingest.doctor.permissions import permission_problems
from ingest.doctor.server.checks import check_server, check_server_collection
from ingest.doctor.server.health import ServerHealth, read_health
from ingest.ledger.queries import indexed_images
from retrieval.errors import IndexFailure, IndexLocked, IndexUnreachable, NoCollection, RetrievalError, SystemFailure
from retrieval.index.engines import open_index
from retrieval.index.interface import Index
from retrieval.index.schema import collection_name, model_of
from retrieval.index_address import is_server, server_urls
from retrieval.settings import RetrievalSettings

_ANSWER_S = 10
"""Seconds for which a node may be silent before it counts as away."""


def doctor(
    model: Annotated[str | None, typer.Option("--model", help="Check this model only.")] = None,
    index: IndexOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check that bundles, collections, thumbnails and ledgers agree.

    The command also checks that only their owner can read them, and counts images by view and label. On a Qdrant server it
    checks nodes, replicas, graphs, payload indexes and limits, too. Exit codes: 0, no problem (notes do not count); 3,
    problems, which are listed; 1, the check failed.

    \b
    cxr doctor
    cxr doctor --model biomedclip --json
    """
    settings = read_settings(index, restrict=False)
    problems = permission_problems(settings.home, settings.index_folder)
    opened = open_index(settings)
    try:
        names = [model_of(name) for name in sorted({*opened.collections(), *opened.damaged()})]
        if model is not None and model not in names:
            raise NoCollection(f"the model {model} has no collection in {opened.location}")
        home = check_home(settings, opened)  # first: opening a collection removes leftovers beside it
        health = _read_server(settings, map(collection_name, names))
        checked = {name: _diagnose(name, opened, settings, health) for name in names}
    finally:
        opened.close()
    # A thumbnail is an orphan only if no collection has its image, so --model reads the other collections, too.
    all_images = frozenset[str]().union(*(images for _, images in checked.values()))
    selected = [checked[name] for name in names if model in (None, name)]
    for diagnosis, images in selected:
        check_thumbnails(diagnosis, images, all_images, settings.media_dir)
    diagnoses = [diagnosis for diagnosis, _ in selected]
    server = check_server(health) if health else []
    healthy = (
        not problems
        and all(diagnosis.is_healthy for diagnosis in diagnoses)
        and all(each.level != "problem" for each in (*home, *server))
    )
    if as_json:
        collections = [diagnosis.to_dict() for diagnosis in diagnoses]
        print_json(
            {
                "healthy": healthy,
                "home": {"problems": problems, "findings": [asdict(each) for each in home]},
                "server": {"findings": [asdict(each) for each in server]} if health else None,
                "collections": collections,
            }
        )
    else:
        for problem in problems:
            typer.echo(f"problem  home: {problem}")
        _print_diagnoses(diagnoses, opened.location)
        if health:
            typer.echo(opened.location)
            _print_check_results(server)
        typer.echo(str(settings.home))
        _print_check_results(home)
    raise typer.Exit(0 if healthy else 3)


def _read_server(settings: RetrievalSettings, collections: Iterable[str]) -> ServerHealth | None:
    """The state of the server and of its `collections`; None for the embedded engine."""
    if not is_server(settings.index_address):
        return None
    key = settings.index_api_key
    return read_health(
        server_urls(settings.index_address),
        collections,
        api_key=key.get_secret_value() if key else None,
        timeout_s=min(settings.index_timeout_s, _ANSWER_S),
        ca_file=settings.index_ca_file,
    )


def _diagnose(
    name: str, opened: Index, settings: RetrievalSettings, health: ServerHealth | None
) -> tuple[Diagnosis, frozenset[str]]:
    """The diagnosis of one collection and the SHA-256 of its images; no images if it cannot be read.

    Raises:
        IndexLocked: another process has the collection open. IndexUnreachable: no node of the server answers.
    """
    ledger: frozenset[tuple[str, str]] | RetrievalError | None
    try:
        ledger = indexed_images(settings.home, opened.location, name)
    except SystemFailure as error:
        ledger = error
    try:
        diagnosis, images = diagnose(
            name,
            opened.open(collection_name(name)),
            settings.models_dir,
            ledger=ledger,
            public_url=settings.public_url,
        )
    except IndexLocked:
        raise
    except (IndexFailure, SystemFailure) as error:
        if isinstance(error, IndexUnreachable) and not (health and health.collections):
            raise
        diagnosis, images = Diagnosis(name, collection_name(name)), frozenset()
        diagnosis.add("collection", True, str(error))
    if health:
        check_server_collection(diagnosis, health, timeout_s=settings.index_timeout_s)
    return diagnosis, images


def _print_diagnoses(diagnoses: list[Diagnosis], location: str) -> None:
    if not diagnoses:
        typer.echo(f"no collection in {location}")
    for found in diagnoses:
        counts = [
            ", ".join(f"{name} {count:,}" for name, count in by.items()) for by in (found.by_view, found.by_label)
        ]
        typer.echo(f"{found.model} ({found.collection}): {found.images:,} images of {found.studies:,} studies")
        typer.echo(f"  views: {counts[0]}\n  labels: {counts[1] or 'none'}")
        _print_check_results(found.results)


def _print_check_results(results: Sequence[CheckResult]) -> None:
    for each in results:
        typer.echo(f"  {each.level:8} {each.check}: {each.message}")
