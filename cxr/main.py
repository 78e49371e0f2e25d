"""The command `cxr`: imports each subcommand when it runs, and prints errors as one line with exit code 1."""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
import typer.main
from typer.core import TyperGroup

from cxr.console import print_json, say
from retrieval.disk_space import free_bytes
from retrieval.errors import DiskFull, MissingExtra, RetrievalError, SystemFailure


class _Command(NamedTuple):
    """Module, attribute and summary line of a command."""

    module: str
    attribute: str
    summary: str


COMMANDS = {
    "demo": _Command(
        "cxr.demo",
        "demo",
        "Draw phantoms, ingest them, search, and serve the web page.",
    ),
    "phantoms": _Command("cxr.phantoms", "phantoms", "Draw synthetic chest X-rays with known findings and reports."),
    "models": _Command("cxr.models", "app", "List the known and the installed models."),
    "export": _Command("cxr.export", "export", "Turn a checkpoint into a model bundle of two ONNX towers."),
    "finetune": _Command("cxr.finetune", "finetune", "Train a dual encoder on image-report pairs."),
    "ingest": _Command("cxr.ingest", "app", "Index the images and reports of an archive with one model."),
    "search": _Command("cxr.search", "search", "Find similar cases by text, image or stored study."),
    "labels": _Command("cxr.labels", "labels", "List findings in a report: present, uncertain, absent."),
    "serve": _Command("cxr.serve", "serve", "Serve the HTTP API and the web page."),
    "keys": _Command("cxr.keys", "app", "Create, list and revoke API keys."),
    "evaluate": _Command(
        "cxr.evaluate",
        "evaluate",
        "Measure one model, beside chance and simple baselines.",
    ),
    "compare": _Command("cxr.compare", "compare", "Measure several models on the same queries."),
    "tune": _Command("cxr.tune", "tune", "Fit the rerank weights for image queries."),
    "experiment": _Command("cxr.experiment", "app", "Compare two models live, by clicks and ratings of users."),
    "use": _Command("cxr.use", "use", "Switch the active model."),
    "push": _Command("cxr.push", "push", "Copy a collection to another index, such as a Qdrant server."),
    "snapshot": _Command("cxr.snapshot", "app", "Save a collection to one file, and restore it."),
    "drop": _Command("cxr.drop", "drop", "Remove a model's collection from the index."),
    "doctor": _Command(
        "cxr.doctor",
        "doctor",
        "Check that bundles, collections, thumbnails and ledgers agree.",
    ),
}

# Packages that only an extra installs, with that extra.
_EXTRA_OF = {
    "gdcm": "dicom",
    "ir_measures": "eval",
    "matplotlib": "eval",
    "onnx": "export",
    "onnxruntime": "cpu",
    "onnxscript": "export",
    "open_clip": "export",
    "opentelemetry": "otel",
    "pyarrow": "parquet",
    "pydicom": "dicom",
    "pytrec_eval": "eval",
    "torch": "export",
    "torchvision": "export",
    "transformers": "export",
}


class _LazyGroup(TyperGroup):
    """Imports the module of a command when it runs, so that `cxr --help` loads neither numpy nor the engines."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return load_command(cmd_name) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.summary) for name, command in COMMANDS.items()])


def load_command(name: str) -> Any:
    """The command `COMMANDS[name]`; imports its module.

    Raises:
        MissingExtra: the command needs a package that is not installed.
    """
    command = COMMANDS[name]
    try:
        target = getattr(importlib.import_module(command.module), command.attribute)
    except ModuleNotFoundError as error:
        raise _missing_extra(error) from error
    if not isinstance(target, typer.Typer):
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(name)(target)
        target = single
    loaded = typer.main.get_command(target)
    loaded.name = name
    return loaded


app = typer.Typer(
    name="cxr",
    cls=_LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(version_of("cxr-retrieval"))
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Similar-case retrieval for chest X-rays. Research use only; not a medical device."""


def main() -> None:
    """Run the command line. An error of this project prints one line with its code, and the exit code is 1."""
    if sys.platform == "win32":  # the code page of a file or pipe lacks letters that reports use
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(encoding="utf-8")
    os.umask(0o077)  # files may hold patient data, so only their owner can read them
    try:
        app()
    except RetrievalError as error:
        _fail(error)
    except OSError as error:
        _fail(_translate(error))
    except ModuleNotFoundError as error:
        _fail(_missing_extra(error))


def _missing_extra(error: ModuleNotFoundError) -> MissingExtra:
    """An error that names the extra to install.

    Raises:
        ModuleNotFoundError: no extra installs the missing package.
    """
    name = (error.name or "").split(".")[0]
    if name not in _EXTRA_OF:
        raise error
    return MissingExtra(f"this command needs {name}; install it with: pip install 'cxr-retrieval[{_EXTRA_OF[name]}]'")


def _translate(error: OSError) -> RetrievalError:
    """An error of the operating system as an error of this project, with cause and remedy."""
    where = f"{error.filename}: " if error.filename else ""
    what = f"{where}{error.strerror or error}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = f"; the disk has {free_bytes(Path(error.filename)) / 1e6:,.0f} MB free" if error.filename else ""
        return DiskFull(f"{what}{free}; free some space and run the command again")
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return SystemFailure(
            f"{what}; give this user write permission, or name another folder with CXR_HOME or an option"
        )
    return SystemFailure(what)


def _fail(error: RetrievalError) -> None:
    say(f"error [{error.code}]: {error}")
    if "--json" in sys.argv:
        print_json({"error": {"code": error.code, "message": str(error)}})
    raise SystemExit(1)


if __name__ == "__main__":
    main()
