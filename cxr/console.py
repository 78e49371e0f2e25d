"""Output of the commands: one JSON document on stdout, messages on stderr."""

from __future__ import annotations

import json
import sys
from typing import Any

import typer


def print_json(document: Any) -> None:
    """Print the one JSON document of a command."""
    json.dump(document, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def say(message: str) -> None:
    """Print a line on stderr, so that stdout holds results only."""
    typer.echo(message, err=True)
