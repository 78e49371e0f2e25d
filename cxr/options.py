"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]
IndexOption = Annotated[
    str | None,
    typer.Option("--index", help="URL of a Qdrant server, or a folder. [default: $CXR_INDEX or <CXR_HOME>/index]"),
]
DeviceOption = Annotated[
    str | None, typer.Option("--device", help="auto, cpu or cuda; cuda is an error if it is not available.")
]
CollectionArgument = Annotated[str, typer.Argument(help="A model that has a collection; see `cxr models`.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]

ShardsOption = Annotated[int, typer.Option("--shards", min=1, help="Shards of a new collection; server only.")]
ReplicasOption = Annotated[int, typer.Option("--replicas", min=1, help="Copies of each shard; server only.")]
PauseOptimizerOption = Annotated[
    bool, typer.Option("--pause-optimizer", help="Let the server build its graph after the load, not during it.")
]
