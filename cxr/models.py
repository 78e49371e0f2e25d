"""The command `cxr models`: what the registry knows and what is installed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from cxr.console import IndexOption, JsonOption, print_json, read_settings, say

app = typer.Typer(invoke_without_command=True, add_completion=False, rich_markup_mode=None)


@app.callback()
def models(context: typer.Context, index: IndexOption = None, as_json: JsonOption = False) -> None:
    """List the models: those of the registry and those installed, which is active, and what each takes on disk.

    \b
    cxr models
    cxr models --json
    cxr models show biomedclip
    """
    if context.invoked_subcommand is not None:
        return
    rows = _model_rows(index)
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
    """Everything that is known of one model: source, training, terms, preprocessing, and what is installed of it.

    \b
    cxr models show biomedclip
    """
    from exporters.registry import find_entry

    row = next((row for row in _model_rows(index) if row["key"] == key), None)
    if row is None:
        find_entry(key)  # says which there are
        return
    row |= _registered(key) | _manifest_of(key)
    if as_json:
        print_json(row)
    else:
        _print_model(row)


def _model_rows(index: str | None) -> list[dict[str, Any]]:
    from exporters.registry import REGISTRY
    from retrieval.catalog import Catalog

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


def _registered(key: str) -> dict[str, Any]:
    from exporters.registry import REGISTRY

    entry = REGISTRY.get(key)
    if entry is None:
        return {}
    names = ("loader", "revision", "context_length", "training", "quality", "preprocessing", "gated", "non_commercial")
    return {name: getattr(entry, name) for name in names}


def _manifest_of(key: str) -> dict[str, Any]:
    import msgspec

    from retrieval.model.bundle import find_bundle, installed_bundles

    models_dir = read_settings().models_dir
    if key not in installed_bundles(models_dir):
        return {"manifest": None}
    return {"manifest": msgspec.to_builtins(find_bundle(key, models_dir, verify=False).manifest)}


def _print_model(row: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

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
    from rich.console import Console, JustifyMethod
    from rich.table import Table

    from retrieval.index.schema import damaged_collection

    table = Table(
        caption="● active   ○ has a collection   … its last ingest did not come to its end", caption_justify="left"
    )
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
