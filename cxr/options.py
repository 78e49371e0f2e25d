"""Options that several commands share, and the check of an option with fixed values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from retrieval.errors import InvalidRequest

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]
IndexOption = Annotated[
    str | None,
    typer.Option(
        "--index",
        help="URL of a Qdrant server, URLs of the nodes of one cluster with commas between them, or a folder. "
        "[default: $CXR_INDEX or <CXR_HOME>/index]",
    ),
]
DeviceOption = Annotated[
    str | None, typer.Option("--device", help="auto, cpu or cuda; cuda is an error if it is not available.")
]
CollectionArgument = Annotated[str, typer.Argument(help="A model that has a collection; see `cxr models`.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]

ShardsOption = Annotated[int, typer.Option("--shards", min=1, help="Shards of a new collection; server only.")]
ReplicasOption = Annotated[int, typer.Option("--replicas", min=1, help="Copies of each shard; server only.")]

VIEWS = ("frontal", "lateral", "unknown", "all")
"""Values of `--view` where all views may be taken together."""
QUANTIZATIONS = ("none", "int8")
"""Values of `--quantization`."""


def require_choice(option: str, value: str, allowed: Sequence[str]) -> None:
    """Check that the value of `option` is one of `allowed`.

    Raises:
        InvalidRequest: it is not.
    """
    if value not in allowed:
        raise InvalidRequest(f"{option} must be one of {', '.join(allowed)}; found {value!r}")
