"""`cxr models`: the known and the installed models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console, JustifyMethod
from rich.table import Table

from cxr.console import print_json, say
from cxr.options import IndexOption, JsonOption
from cxr.settings import read_settings
from exporters.registry import REGISTRY, find_entry
from retrieval.catalog import Catalog
from retrieval.index.schema import damaged_collection
from retrieval.model.bundle import find_bundle, installed_bundles

app = typer.Typer(invoke_without_command=True, add_completion=False, rich_markup_mode=None)


@app.callback()
def models(context: typer.Context, index: IndexOption = None, as_json: JsonOption = False) -> None:
    """List the known and the installed models.

    The list shows which model is active, and the size, images and licence of each. `cxr models show KEY` shows one model.

    \b
    cxr models
    cxr models --json
    cxr models show biomedclip
    """
    if context.invoked_subcommand is not None:
        return
    rows = _read_models(index)
    if as_json:
        print_json({"models": rows})
    else:
        _print_models(rows)


@app.command()
def show(
    key: Annotated[str, typer.Argument(help="A key of `cxr models`.")],
    index: IndexOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show source, training, licence and preprocessing of a model, and its installed bundle.

    \b
    cxr models show biomedclip
    """
    row = next((row for row in _read_models(index) if row["key"] == key), None)
    if row is None:
        find_entry(key)  # raises an error that lists the known models
        return
    row |= _registry_fields(key) | _manifest_field(key)
    if as_json:
        print_json(row)
    else:
        _print_model(row)


def _read_models(index: str | None) -> list[dict[str, Any]]:
    with Catalog(read_settings(index)) as catalog:
        known = {status.key: status.to_dict() for status in catalog.models()}
    rows = []
    for key in [*known, *(key for key in REGISTRY if key not in known)]:
        row: dict[str, Any] = {"key": key, "installed": False, "active": False, "collection": None} | known.get(key, {})
        entry = REGISTRY.get(key)
        if entry is not None:
            row |= {"source": entry.source, "notes": entry.notes}
            row |= {
                name: getattr(entry, name)
                for name in ("family", "licence", "dim", "image_size")
                if row.get(name) is None
            }
        rows.append(row)
    return rows


def _registry_fields(key: str) -> dict[str, Any]:
    entry = REGISTRY.get(key)
    if entry is None:
        return {}
    names = ("loader", "revision", "context_length", "training", "quality", "preprocessing", "gated", "non_commercial")
    fields = {name: getattr(entry, name) for name in names}
    return fields | {"lender": str(entry.lender) if entry.lender else None}


def _manifest_field(key: str) -> dict[str, Any]:
    models_dir = read_settings().models_dir
    if key not in installed_bundles(models_dir):
        return {"manifest": None}
    return {"manifest": msgspec.to_builtins(find_bundle(key, models_dir, verify=False).manifest)}


def _print_model(row: dict[str, Any]) -> None:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    manifest = row.pop("manifest") or {}
    row.pop("notes", None)
    shown = {name: value for name, value in row.items() if value not in (None, "")}
    for part in ("preprocessing", "tokenization", "parity", "precision_check"):
        for name, value in (manifest.get(part) or {}).items():
            shown[f"{part}.{name}"] = value
    for name, value in shown.items():
        table.add_row(name, f"{value:.7g}" if isinstance(value, float) else str(value))
    Console().print(table)


def _print_models(rows: Sequence[dict[str, Any]]) -> None:
    table = Table(caption="● active   ○ has a collection   … last ingest did not finish", caption_justify="left")
    for heading in ("", "key", "installed", "dim", "pixels", "MB", "images", "licence"):
        justify: JustifyMethod = "right" if heading in ("dim", "pixels", "MB", "images") else "left"
        table.add_column(heading, justify=justify, no_wrap=heading == "key")
    for row in rows:
        mark = "●" if row["active"] else "○" if row["collection"] else ""
        size = f"{row['size_bytes'] / 1e6:.1f}" if row.get("size_bytes") else ""
        installed = row["precision"] if row["installed"] else "no"
        images = f"{row['images']:,}" if row.get("images") else ""
        if row.get("damaged"):
            images = "damaged"
        elif row["collection"] and not row["complete"]:
            images = f"{images} …".strip()
        cells = (str(row.get("dim") or ""), str(row.get("image_size") or ""), size, images)
        table.add_row(mark, row["key"], installed, *cells, row.get("licence") or "")
    Console().print(table)
    for row in rows:
        if row.get("damaged"):
            say(str(damaged_collection(row["collection"], "this index", row["damaged"])))
