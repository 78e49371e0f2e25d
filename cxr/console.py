"""What the commands of all packages share: options, settings from options, one JSON document out."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from retrieval.settings import RetrievalSettings

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")]
IndexOption = Annotated[
    str | None,
    typer.Option("--index", help="URL of a Qdrant server, or a folder; default $CXR_INDEX or <CXR_HOME>/index."),
]
DeviceOption = Annotated[
    str | None, typer.Option("--device", help="auto, cpu or cuda; a device asked for and absent is an error.")
]


def read_settings(index: str | None = None, device: str | None = None, *, restrict: bool = True) -> RetrievalSettings:
    """Settings from the environment, overridden by what the command line gave.

    A home or embedded index that other users can read is restricted to its owner, with a message, unless `restrict` is
    false.

    Raises:
        InvalidRequest: a value is outside its range; the message names it.
    """
    from pydantic import ValidationError

    from retrieval.errors import InvalidRequest
    from retrieval.settings import RetrievalSettings

    given: dict[str, Any] = {"index": index, "device": device}
    try:
        settings = RetrievalSettings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise InvalidRequest(f"settings: {wrong}") from error
    if restrict:
        from retrieval.file_permissions import restrict_home

        for path in restrict_home(settings.home, settings.index_folder):
            say(f"other users of this machine could read {path}; it is now restricted to its owner")
    return settings


def print_json(document: Any) -> None:
    """Print the one JSON document of a command."""
    json.dump(document, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def say(message: str) -> None:
    """A line for the person at the terminal, on stderr so that stdout stays for results."""
    typer.echo(message, err=True)
