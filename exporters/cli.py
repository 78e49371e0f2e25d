"""The commands `cxr models`, `cxr export` and `cxr finetune`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from retrieval.console import DeviceOption, IndexOption, JsonOption, print_json, read_settings, say

if TYPE_CHECKING:
    from retrieval.records import Study

StudyReader = Callable[[Path, Path, Path, Path | None, str], "Sequence[Study]"]
"""Reads reports, projections, images and, if splits are given, one split of them."""


def mount(app: typer.Typer, *, read_studies: StudyReader) -> None:
    """Add the commands to `app`. Training reads archives through `read_studies`, which belongs to another package."""
    app.command()(models)
    app.command()(export)

    @app.command()
    def finetune(
        reports_csv: Annotated[
            Path, typer.Option("--reports-csv", help="uid, MeSH, Problems, findings, impression, …")
        ],
        projections_csv: Annotated[Path, typer.Option("--projections-csv", help="uid, filename, projection.")],
        images_dir: Annotated[Path, typer.Option("--images-dir", help="Folder that holds the files named there.")],
        splits_csv: Annotated[Path, typer.Option("--splits-csv", help="uid, split.")],
        out: Annotated[Path, typer.Option("--out", help="Folder that takes the checkpoint.")],
        config: Annotated[
            str | None, typer.Option("--config", help="A .json file or a shipped configuration, such as indiana-clip.")
        ] = None,
        checkpoint: Annotated[
            str | None, typer.Option("--checkpoint", help="Start from this folder or hub id instead of from scratch.")
        ] = None,
        train_split: Annotated[str, typer.Option("--train-split")] = "train",
        val_split: Annotated[str, typer.Option("--val-split")] = "val",
        loss: Annotated[str | None, typer.Option("--loss", help="sigmoid or infonce.")] = None,
        epochs: Annotated[int | None, typer.Option("--epochs", min=1)] = None,
        batch_size: Annotated[int | None, typer.Option("--batch-size", min=2)] = None,
        learning_rate: Annotated[float | None, typer.Option("--learning-rate")] = None,
        time_limit_min: Annotated[
            float | None, typer.Option("--time-limit-min", help="Stop by then, annealed.")
        ] = None,
        seed: Annotated[int | None, typer.Option("--seed")] = None,
        device: DeviceOption = None,
        as_json: JsonOption = False,
    ) -> None:
        """Train a dual encoder on image-report pairs; the checkpoint goes to `cxr export`.

        Starts from a checkpoint, or from scratch with a configuration. The epoch that retrieves best on the validation
        split is kept. A run that was cut off resumes with the same command.

        \b
        cxr finetune --config indiana-clip --reports-csv indiana_reports.csv \\
            --projections-csv indiana_projections.csv --images-dir images --splits-csv splits.csv --out indiana-clip
        """
        from exporters.finetune.progress import ConsoleProgress
        from exporters.finetune.run import finetune as train
        from exporters.finetune.settings import load_settings, make_settings

        surroundings = read_settings(device=device)
        given: dict[str, Any] = {
            "loss": loss,
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "time_limit_min": time_limit_min,
            "seed": seed,
            # Only where it was said: the configuration's own stands otherwise.
            "device": surroundings.device if "device" in surroundings.model_fields_set else None,
        }
        if config is None:
            settings = make_settings({"checkpoint": checkpoint}, **given)
        elif checkpoint is None:
            settings = load_settings(config, **given)
        else:
            settings = load_settings(config, checkpoint=checkpoint, **given)
        archive = (reports_csv, projections_csv, images_dir, splits_csv)
        training, validation = (read_studies(*archive, split) for split in (train_split, val_split))
        with ConsoleProgress() as progress:
            summary = train(settings, training, validation, out, progress=progress)
        if as_json:
            import msgspec

            print_json(msgspec.to_builtins(summary))
        else:
            say(
                f"{summary.checkpoint}: epoch {summary.best_epoch} of {summary.epochs} was best; "
                f"next: cxr export NAME --checkpoint {out}"
            )


def models(index: IndexOption = None, as_json: JsonOption = False) -> None:
    """List the models: those of the registry and those installed, which is active, and what each takes on disk.

    \b
    cxr models
    cxr models --json
    """
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
    if as_json:
        print_json({"models": rows})
    else:
        _print_models(rows)


def _print_models(rows: Sequence[dict[str, Any]]) -> None:
    from rich.console import Console, JustifyMethod
    from rich.table import Table

    table = Table(caption="● active   ○ has a collection", caption_justify="left")
    for heading in ("", "key", "installed", "dim", "pixels", "MB", "licence"):
        justify: JustifyMethod = "right" if heading in ("dim", "pixels", "MB") else "left"
        table.add_column(heading, justify=justify, no_wrap=heading == "key")
    for row in rows:
        mark = "●" if row["active"] else "○" if row["collection"] else ""
        size = f"{row['size_bytes'] / 1e6:.1f}" if row.get("size_bytes") else ""
        installed = row["precision"] if row["installed"] else "no"
        cells = (str(row.get("dim") or ""), str(row.get("image_size") or ""), size)
        table.add_row(mark, row["key"], installed, *cells, row.get("licence") or "")
    Console().print(table)


def export(
    key: Annotated[str, typer.Argument(help="A key of `cxr models`, or a new name together with --checkpoint.")],
    checkpoint: Annotated[
        str | None, typer.Option("--checkpoint", help="Folder or hub id to read instead of the registry's source.")
    ] = None,
    revision: Annotated[str | None, typer.Option("--revision", help="Revision on the hub.")] = None,
    licence: Annotated[str | None, typer.Option("--licence", help="Licence to record for a model of your own.")] = None,
    accept_license: Annotated[
        bool, typer.Option("--accept-license", help="You have read and accept a restricted model's terms.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Turn a checkpoint into a model bundle: ONNX towers, proven equal to the reference model before it is installed.

    \b
    cxr export biomedclip
    cxr export medsiglip-448 --accept-license
    cxr export my-model --checkpoint ./my-checkpoint
    """
    from exporters.registry import REGISTRY, find_entry, require_licence

    entry = find_entry(key) if checkpoint is None else REGISTRY.get(key)
    if entry is not None:
        require_licence(entry, accept_license)
    from exporters.export import export_model

    summary = export_model(
        name=key,
        source=checkpoint or (entry.source if entry else key),
        out_dir=read_settings().models_dir,
        family=entry.family if entry else None,
        revision=revision or (entry.revision if entry else None),
        licence=licence or (entry.licence if entry else "unknown"),
        progress=say,
    )
    if as_json:
        print_json(summary.to_dict())
    else:
        say(f"{key} is installed in {summary.folder} (bundle {summary.bundle_id}); next: cxr ingest --model {key} …")
