"""The pages of docs/reference/, made from the code: `python -m docs.generate`.

`tests/docs/test_reference.py` fails when a page differs from what this script makes.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from litestar.testing import TestClient

import cxr.main
import service
from retrieval.catalog import Catalog
from retrieval.errors import RetrievalError
from retrieval.index.filters import Filters
from retrieval.labels.finding_words import WORDS_OF_HEAD
from retrieval.labels.indexed_labels import QUALIFIERS
from retrieval.labels.vocabulary import CHEXPERT_14, OTHER_HEADS, chexpert_names
from retrieval.search.query import Facet, Query
from retrieval.search.rerank import PRESETS, WEIGHTS
from retrieval.settings import RetrievalSettings
from service.app import create_app
from service.settings import ServiceSettings

FOLDER = Path(__file__).parent / "reference"
NOTICE = "<!-- Made by `python -m docs.generate`. Do not edit. -->\n\n"

FILTER_MEANINGS = {
    "all": "Findings that must all be present.",
    "any": "Findings of which at least one must be present.",
    "none": "Findings that must be neither present nor uncertain. Images without labels pass.",
    "absent": "Findings that the report denies. No qualifiers. Stricter than `none`.",
    "certainty": "What `all` and `any` ask for: `present`, `uncertain` or `either`.",
    "sides": "Laterality of any finding, one of these.",
    "sites": "Site of any finding, one of these.",
    "severities": "Severity of any finding, one of these.",
    "view": "`frontal`, `lateral` or `unknown`.",
    "dataset": "Name of the dataset.",
    "study_id": "Images of this study only.",
    "date_from": "First study date, `YYYY-MM-DD`. Images without a date (all of DICOM, Indiana) never match.",
    "date_to": "Last study date, `YYYY-MM-DD`.",
    "has_report": "`true`: only images with report text; `false`: only images without.",
    "exclude_studies": "Studies that must not appear.",
}
QUERY_MEANINGS = {
    "text": "Words to look for, at most 2,000 characters. They rank hits and do not exclude any; denials do.",
    "image": "Bytes of a PNG, JPEG, WebP or DICOM file; base64 in JSON.",
    "study": "A stored case: `study_id`, and `dataset` or `image_id` where needed.",
    "like": "Up to 20 stored cases that hits should resemble.",
    "unlike": "Up to 20 stored cases that hits should differ from.",
    "filters": "See the table of filters.",
    "interpret": "Turn what the text denies into a filter.",
    "match": "Where candidates come from: `dense` (nearest images), `bm25` (words of the reports) or `hybrid` (both).",
    "rerank": "A preset, `none`, or weights by signal.",
    "diversity": "0 to 1: maximal marginal relevance; 0 keeps the order.",
    "collapse": "One hit per `study` or `report`; `none` keeps all.",
    "candidates": "Nearest images that are reordered, 1 to 1,000.",
    "facets": "Fields whose values are counted under the filters.",
    "k": "Number of hits, 1 to 100.",
}


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


def walk_commands() -> Iterator[tuple[str, Any]]:
    """Each command of `cxr` with its path, such as `cxr ingest status`; groups stand before their commands."""
    for name in cxr.main.COMMANDS:
        command = cxr.main.load_command(name)
        yield f"cxr {name}", command
        for child, subcommand in getattr(command, "commands", {}).items():
            yield f"cxr {name} {child}", subcommand


def parameters_of(command: Any) -> list[Any]:
    """Arguments and options, without those of shell completion."""
    return [each for each in command.params if not {"--install-completion", "--show-completion"} & set(each.opts)]


def _command(path: str, command: Any) -> list[str]:
    level = "##" if path.count(" ") == 1 else "###"
    text, _, examples = (command.help or "").partition("\b")
    description = " ".join(text.split("\n")).replace("  ", "\n\n").strip()
    lines = [f"{level} {path}", "", escape(description), ""]
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


def render_filters() -> str:
    """The fields of a query and of its filters, the vocabularies, presets and facets."""
    lines = [NOTICE + "# Filters and labels", ""]
    lines += [
        "The same names hold on the command line (`--query`, `--filters`), over HTTP and in Python (`Query`, `Filters`).",
        "[Searching](../guides/searching.md) shows them in use.",
        "",
        "## Query",
        "",
        *_fields(Query, QUERY_MEANINGS),
        "",
        "## Filters",
        "",
        "All conditions must hold. Findings are written in either vocabulary, in any case. A finding may carry one",
        "qualifier after a slash: `Opacity/left`, `Lung Opacity/mild`.",
        "",
        *_fields(Filters, FILTER_MEANINGS),
        "",
        "## Facets",
        "",
        f"`facets` counts values of: {_list(get_args(Facet))}.",
        "",
        "## Rerank presets",
        "",
        "| Preset | " + " | ".join(WEIGHTS) + " |",
        "|---|" + "---|" * len(WEIGHTS),
    ]
    for name, weights in PRESETS.items():
        lines.append(f"| `{name}` | " + " | ".join(f"{weights.get(signal, 0):g}" for signal in WEIGHTS) + " |")
    lines += [
        "",
        "`none` keeps the order of the candidate lists. Weights that a query cannot use are left out, and the rest are",
        "scaled to a sum of 1. `cxr tune --save NAME` adds a preset of your own.",
        "",
        "## CheXpert-14",
        "",
        _list(CHEXPERT_14),
        "",
        "## Heads: main terms of the Indiana MeSH labels",
        "",
        "Read from report text, and from MeSH and Problems where a study has them.",
        "",
        "| Head | CheXpert-14 |",
        "|---|---|",
    ]
    for head in sorted(WORDS_OF_HEAD):
        lines.append(f"| `{head}` | {_list(chexpert_names(head)) or '–'} |")
    lines += ["", "Taken from MeSH and Problems only:", "", _list(OTHER_HEADS), "", "## Qualifiers", ""]
    lines += [
        *(f"- {name}: {_list(sorted(values))}" for name, values in QUALIFIERS.items()),
        "",
        "Report text gives sides and severities, the indexing all three. A facet counts those of a collection.",
    ]
    return "\n".join(lines) + "\n"


def _fields(struct: type, meanings: Mapping[str, str]) -> list[str]:
    names = struct.__struct_fields__  # type: ignore[attr-defined]
    defaults = dict(zip(names[-len(struct.__struct_defaults__) :], struct.__struct_defaults__, strict=True))  # type: ignore[attr-defined]
    rows = ["| Field | Default | Meaning |", "|---|---|---|"]
    for name in names:
        default = defaults.get(name)
        shown = "" if default in (None, (), Filters()) else f"`{json.dumps(default)}`"
        rows.append(f"| `{name}` | {shown} | {meanings[name]} |")
    return rows


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


def render_http() -> str:
    """Every route with its parameters, bodies and answers, from the OpenAPI document."""
    document = load_openapi()
    lines = [
        NOTICE + "# HTTP",
        "",
        "A running service shows the same at `/schema`, and as a document at `/schema/openapi.json`. Send a key as",
        "`Authorization: Bearer KEY` or `X-API-Key: KEY` once there is one. Errors are problem documents (RFC 9457) with a",
        "stable [code](errors.md).",
        "",
        "| Route | What it does |",
        "|---|---|",
    ]
    operations = [
        (method.upper(), path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in ("get", "put", "post", "delete")
    ]
    for method, path, operation in operations:
        lines.append(f"| [`{method} {path}`](#{anchor(f'{method} {path}')}) | {cell(operation.get('summary', ''))} |")
    for method, path, operation in operations:
        lines += ["", f"## {method} {path}", "", escape(operation.get("description") or operation.get("summary", ""))]
        lines += _parameters(operation) + _bodies(operation) + _answers(operation)
    lines += ["", "# Documents", ""]
    for name, schema in sorted(document["components"]["schemas"].items()):
        lines += _schema(name, schema)
    return "\n".join(lines).rstrip() + "\n"


def load_openapi() -> dict[str, Any]:
    """The OpenAPI document of a service on an empty home."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Catalog(RetrievalSettings(home=Path(folder), index=None, device="cpu")) as catalog,
        TestClient(
            create_app(ServiceSettings(metrics=True, audit=False), catalog), base_url="http://127.0.0.1:8000"
        ) as client,
    ):
        document: dict[str, Any] = client.get("/schema/openapi.json").raise_for_status().json()
    return document


def _parameters(operation: dict[str, Any]) -> list[str]:
    found = operation.get("parameters", [])
    if not found:
        return []
    rows = ["", "| Parameter | In | Type | Meaning |", "|---|---|---|---|"]
    for each in found:
        mark = ", required" if each.get("required") else ""
        meaning = cell(each.get("description") or each["schema"].get("description", ""))
        rows.append(f"| `{each['name']}` | {each['in']}{mark} | {_type(each['schema'])} | {meaning} |")
    return rows


def _bodies(operation: dict[str, Any]) -> list[str]:
    lines = []
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        lines += ["", f"Body: `{media_type}`, {_type(content['schema'])}"]
        for example in content["schema"].get("examples", [])[:1]:
            lines += ["", "```json", json.dumps(example, indent=2), "```"]
    return lines


def _answers(operation: dict[str, Any]) -> list[str]:
    rows = ["", "| Status | Answer |", "|---|---|"]
    for status, answer in sorted(operation["responses"].items()):
        types = {_type(content["schema"]) for content in answer.get("content", {}).values() if "schema" in content}
        rows.append(f"| {status} | {cell(answer.get('description', ''))} {' '.join(sorted(types - {'any'}))} |")
    return rows


def _schema(name: str, schema: dict[str, Any]) -> list[str]:
    return [f"## {name}", "", escape(schema.get("description", "")), *_schema_rows(schema), ""]


def _schema_rows(schema: dict[str, Any]) -> list[str]:
    properties = schema.get("properties", {})
    if not properties:
        values = schema.get("enum")
        return ["", f"One of {_list(values)}."] if values else []
    required = set(schema.get("required", ()))
    rows = ["", "| Field | Type | Meaning |", "|---|---|---|"]
    for name, each in properties.items():
        mark = " (required)" if name in required else ""
        rows.append(f"| `{name}`{mark} | {_type(each)} | {cell(each.get('description', ''))} |")
    return rows


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{anchor(name)})"
    for key in ("oneOf", "anyOf", "allOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(_type(each) for each in schema[key]))
    if "enum" in schema:
        return ", ".join("null" if value is None else f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if isinstance(schema.get("type"), list):
        return " or ".join(schema["type"])
    return str(schema.get("type", "any"))


def anchor(heading: str) -> str:
    """The anchor of a heading, as code hosts and MyST make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def cell(text: str) -> str:
    """Text that fits into a cell of a Markdown table."""
    return escape(" ".join(text.split())).replace("|", "\\|")


def escape(text: str) -> str:
    """Text in which placeholders such as <CXR_HOME> are not taken for HTML."""
    return re.sub(r"`[^`]*`|<(?=\w)", lambda found: "\\<" if found[0] == "<" else found[0], text)


def _list(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in names)


PAGES: dict[str, Callable[[], str]] = {
    "cli.md": render_cli,
    "http.md": render_http,
    "settings.md": render_settings,
    "filters-and-labels.md": render_filters,
    "errors.md": render_errors,
}


if __name__ == "__main__":
    main()
