"""The pages of docs/reference/, made from the code: `python -m docs.generate`.

`tests/docs/test_reference.py` fails when a page differs from what this script makes.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cxr.main
import service
from docs.command_tree import walk_commands
from docs.reference_filters import render_filters
from docs.reference_http import render_http
from docs.reference_markdown import NOTICE, cell, escape
from retrieval.errors import RetrievalError
from retrieval.settings import RetrievalSettings
from service.settings import ServiceSettings

FOLDER = Path(__file__).parent / "reference"


def main() -> None:
    """Write every page of the reference."""
    FOLDER.mkdir(exist_ok=True)
    for name, render in PAGES.items():
        (FOLDER / name).write_text(render(), encoding="utf-8")


def render_cli() -> str:
    """Every command with its options and examples."""
    lines = [
        NOTICE + "# Command line",
        "",
        "`cxr COMMAND --help` prints the same. An error prints one line with its [code](errors.md).",
        "",
        "| Exit code | Meaning |",
        "|---|---|",
        "| 0 | success |",
        "| 1 | error |",
        "| 2 | wrong usage |",
        "| 3 | `cxr ingest`: complete except for quarantined or kept images; `cxr doctor`: it found problems |",
        "| 130 | stopped with Ctrl+C |",
        "",
        "| Command | What it does |",
        "|---|---|",
    ]
    lines += [f"| [`cxr {name}`](#cxr-{name}) | {row.summary} |" for name, row in cxr.main.COMMANDS.items()]
    for path, command in walk_commands():
        lines += ["", *_command(path, command)]
    return "\n".join(lines) + "\n"


def parameters_of(command: Any) -> list[Any]:
    """Arguments and options, without those of shell completion."""
    return [each for each in command.params if not {"--install-completion", "--show-completion"} & set(each.opts)]


def _command(path: tuple[str, ...], command: Any) -> list[str]:
    level = "#" * (1 + len(path))
    text, _, examples = (command.help or "").partition("\b")
    description = " ".join(text.split("\n")).replace("  ", "\n\n").strip()
    lines = [f"{level} {' '.join(('cxr', *path))}", "", escape(description), ""]
    if examples.strip():
        lines += ["```text", examples.strip("\n").rstrip(), "```", ""]
    rows = [_parameter(each) for each in parameters_of(command)]
    if rows:
        lines += ["| Option | Default | Meaning |", "|---|---|---|", *rows]
    return lines


def _parameter(parameter: Any) -> str:
    is_option = parameter.param_type_name == "option"
    names = " / ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    if not is_option:
        names = f"`{parameter.name.upper()}`"
    default = parameter.default
    shown = f"`{default}`" if isinstance(default, int | float | str) and not isinstance(default, bool) else ""
    if parameter.required:
        shown = "required"
    elif isinstance(default, bool):
        shown = "on" if default else "off"
    elif isinstance(default, list | tuple):
        shown = f"`{','.join(map(str, default))}`" if default else ""
    return f"| {names} | {shown} | {cell(parameter.help or '')} |"


def render_settings() -> str:
    """Every environment variable, from the settings classes."""
    lines = [
        NOTICE + "# Settings",
        "",
        "Settings are environment variables. An option on the command line wins over its variable.",
    ]
    for title, settings in (("Engine and index", RetrievalSettings), ("Service", ServiceSettings)):
        prefix = settings.model_config["env_prefix"]
        lines += ["", f"## {title}", "", "| Variable | Default | Meaning |", "|---|---|---|"]
        for name, each in settings.model_fields.items():
            meaning = cell(each.description or "")
            lines.append(f"| `{prefix}{name.upper()}` | {_default(each.default)} | {meaning} |")
    return "\n".join(lines) + "\n"


def _default(default: object) -> str:
    if default is None:
        return "unset"
    text = ",".join(default) if isinstance(default, tuple) else str(default)
    return f"`{text.replace(str(Path.home()), '~')}`"


def render_errors() -> str:
    """Every error code with its HTTP status."""
    for module in pkgutil.walk_packages(service.__path__, "service."):
        importlib.import_module(module.name)
    for name in cxr.main.COMMANDS:
        cxr.main.load_command(name)
    found: dict[str, tuple[int, str]] = {}
    for error in sorted(_subclasses(RetrievalError), key=lambda each: len(each.__mro__)):
        if "code" in vars(error) and error.__module__.split(".")[0] in _PACKAGES:
            found.setdefault(error.code, (error.http_status, (error.__doc__ or "").split("\n")[0]))
    lines = [
        NOTICE + "# Error codes",
        "",
        "The command line prints `error [CODE]: message` and exits with 1; `--json` prints the same as an object. HTTP",
        "answers are problem documents (RFC 9457) with `code`. `cxr ingest status` lists quarantined files by code.",
        "[Archives and DICOM](../guides/archives-and-dicom.md#quarantined-files) has the codes that only an ingest gives.",
        "",
        "| Code | HTTP | Meaning |",
        "|---|---|---|",
    ]
    lines += [f"| `{code}` | {status} | {cell(text)} |" for code, (status, text) in sorted(found.items())]
    return "\n".join(lines) + "\n"


_PACKAGES = ("cxr", "service", "exporters", "evaluation", "ingest", "archives", "retrieval")


def _subclasses(error: type[RetrievalError]) -> set[type[RetrievalError]]:
    return {error}.union(*(_subclasses(each) for each in error.__subclasses__()))


PAGES: dict[str, Callable[[], str]] = {
    "cli.md": render_cli,
    "http.md": render_http,
    "settings.md": render_settings,
    "filters-and-labels.md": render_filters,
    "errors.md": render_errors,
}


if __name__ == "__main__":
    main()
