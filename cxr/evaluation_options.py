"""Options of `cxr evaluate` and `cxr compare`, and the measurements that they describe."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any, cast

import msgspec
import typer

from archives.splits import read_split
from cxr.options import VIEWS, require_choice
from cxr.progress import progress_bar
from cxr.settings import read_settings
from evaluation.evaluation_process import Measurement
from evaluation.results import Evaluation, Protocol
from retrieval.errors import InvalidRequest
from retrieval.model.bundle import find_bundle
from retrieval.progress import StageProgress

DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="Folder of an archive in the Indiana format. It is ingested for this evaluation only. "
        "[default: evaluate the collection]",
    ),
]
SplitOption = Annotated[
    str | None, typer.Option("--split", help="Evaluate the studies of this split only, such as test.")
]
SplitsOption = Annotated[
    Path | None, typer.Option("--splits-csv", help="Table of study_id (or uid) and split. [default: <data>/splits.csv]")
]
ViewOption = Annotated[str, typer.Option("--view", help="frontal, lateral, unknown or all.")]
VocabularyOption = Annotated[
    str,
    typer.Option(
        "--vocabulary",
        help="Findings that decide what is relevant. chexpert: CheXpert-14; heads: main terms of the Indiana MeSH labels.",
    ),
]
QueriesOption = Annotated[
    int, typer.Option("--queries", min=10, max=100_000, help="Maximum number of queries per task, or per finding.")
]
ResamplesOption = Annotated[
    int, typer.Option("--resamples", min=100, max=100_000, help="Bootstrap resamples per interval.")
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of the samples and resamples.")]

_VOCABULARIES = ("chexpert", "heads")


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
    """The protocol that the options describe, and the study ids of the split (None: all studies).

    Raises:
        InvalidRequest: an unknown view or vocabulary, or --split and --splits-csv do not go together.
    """
    require_choice("--view", view, VIEWS)
    require_choice("--vocabulary", vocabulary, _VOCABULARIES)
    table = splits_csv or (data / "splits.csv" if data and split else None)
    if split and table is None:
        raise InvalidRequest("--split needs --splits-csv: a collection does not record the split of a study")
    if table and not split:
        raise InvalidRequest("--splits-csv needs --split: name the split to evaluate")
    protocol = Protocol(
        view=None if view == "all" else cast(Any, view),
        vocabulary=cast(Any, vocabulary),
        split=split,
        queries=queries,
        resamples=resamples,
        seed=seed,
    )
    return protocol, read_split(table, split) if table and split else None


def plan_measurements(
    names: list[str],
    protocol: Protocol,
    studies: frozenset[str] | None,
    data: Path | None,
    scratch: Path,
    index: str | None,
    device: str | None,
) -> list[Measurement]:
    """One measurement for each model.

    Raises:
        UnknownModel: a model is not installed.
    """
    settings = read_settings(index, device)
    for name in names:
        find_bundle(name, settings.models_dir, verify=False)  # a typing error must show before hours of measuring
    return [Measurement(name, settings, protocol, studies, data, scratch if data else None) for name in names]


def write_evaluation(evaluation: Evaluation, folder: Path) -> None:
    """Write `<model>.json` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{evaluation.model}.json").write_bytes(msgspec.json.format(msgspec.json.encode(evaluation), indent=1))


def model_progress(model: str) -> AbstractContextManager[StageProgress]:
    """Progress on stderr of the measurement of `model`."""
    return progress_bar(prefix=f"{model}: ")
