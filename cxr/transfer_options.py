"""Options, index and report that `cxr push` and `cxr snapshot` share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, cast

import typer

from cxr.console import print_json, say
from cxr.ingest_summary import describe_counts
from cxr.options import QUANTIZATIONS, require_choice
from cxr.settings import read_settings
from ingest.transfer import LoadOptions, TransferSummary
from retrieval.index.engines import open_index
from retrieval.index.interface import Index
from retrieval.index.schema import Quantization

RecreateOption = Annotated[bool, typer.Option("--recreate", help="Drop the existing collection first.")]
CopyQuantizationOption = Annotated[
    str | None,
    typer.Option("--quantization", help="none or int8, for a new collection. [default: that of the original]"),
]


def load_options(quantization: str | None, *, shards: int, replicas: int, recreate: bool) -> LoadOptions:
    """The options of a copy.

    Raises:
        InvalidRequest: an unknown quantization.
    """
    if quantization is not None:
        require_choice("--quantization", quantization, QUANTIZATIONS)
    return LoadOptions(
        quantization=cast("Quantization | None", quantization),
        shards=shards,
        replicas=replicas,
        recreate=recreate,
    )


@contextmanager
def opened_index(location: str | None) -> Iterator[Index]:
    """The index at `location` (None: that of the settings). It waits for a busy server."""
    index = open_index(read_settings(location), patient=True)
    try:
        yield index
    finally:
        index.close()


def report_transfer(summary: TransferSummary, as_json: bool) -> None:
    """Print the result of a copy."""
    if as_json:
        print_json(summary.to_dict())
        return
    say(
        f"{summary.collection} in {summary.location}: {summary.sent:,} images sent, "
        f"{summary.unchanged:,} already there, {summary.verified:,} read back and equal, in {summary.seconds:.1f} s"
    )
    say(f"it holds {describe_counts(summary.counts)}")
    if summary.kept:
        say(f"{summary.kept:,} of them are not in the original and were kept; --recreate removes them")
    if not summary.complete:
        say("the original is not complete because its last ingest did not finish, so the copy is not complete either")
    say("it is the active collection there" if summary.active else "to make it the active one, run `cxr use` there")
