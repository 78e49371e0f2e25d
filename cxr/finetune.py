"""`cxr finetune`: train a dual encoder on image-report pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from archives.indiana import IndianaSource
from archives.splits import read_split
from cxr.console import print_json, say
from cxr.options import DeviceOption, JsonOption
from cxr.progress import progress_bar
from cxr.settings import read_settings
from cxr.training_progress import TrainingReporter
from exporters.finetune.settings import load_settings, make_settings
from retrieval.records import Quarantined, Study, studies_of


def finetune(
    reports_csv: Annotated[
        Path, typer.Option("--reports-csv", help="Table of uid, MeSH, Problems, findings, impression, …")
    ],
    projections_csv: Annotated[Path, typer.Option("--projections-csv", help="Table of uid, filename, projection.")],
    images_dir: Annotated[Path, typer.Option("--images-dir", help="Folder of the image files.")],
    splits_csv: Annotated[Path, typer.Option("--splits-csv", help="Table of uid and split.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the checkpoint.")],
    config: Annotated[
        str | None,
        typer.Option("--config", help="A .json file, or a configuration of this package such as indiana-clip."),
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option("--checkpoint", help="Start from this folder or hub id, not from scratch.")
    ] = None,
    train_split: Annotated[str, typer.Option("--train-split", help="Split to train on.")] = "train",
    val_split: Annotated[str, typer.Option("--val-split", help="Split to validate on.")] = "val",
    loss: Annotated[str | None, typer.Option("--loss", help="sigmoid or infonce.")] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Number of epochs.")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", min=2, help="Pairs per batch.")] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", help="Peak learning rate.")] = None,
    time_limit_min: Annotated[
        float | None,
        typer.Option("--time-limit-min", help="Stop after this time; the learning rate has fallen to zero by then."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of initialisation and sampling.")] = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a dual encoder on image-report pairs.

    Training starts from a checkpoint, or from scratch with a configuration. The result is the epoch that retrieves best on
    the validation split; pass it to `cxr export`. After an interruption the same command resumes the run.

    \b
    cxr finetune --config indiana-clip --reports-csv indiana_reports.csv \\
        --projections-csv indiana_projections.csv --images-dir images --splits-csv splits.csv --out indiana-clip
    """
    from exporters.finetune.run import finetune as train  # needs the extra `export`; torch takes seconds

    engine_settings = read_settings(device=device)
    given: dict[str, Any] = {
        "loss": loss,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "time_limit_min": time_limit_min,
        "seed": seed,
        # Without an option or CXR_DEVICE the device of the configuration applies.
        "device": engine_settings.device if "device" in engine_settings.model_fields_set else None,
    }
    if config is None:
        settings = make_settings({"checkpoint": checkpoint}, **given)
    elif checkpoint is None:
        settings = load_settings(config, **given)
    else:
        settings = load_settings(config, checkpoint=checkpoint, **given)
    archive = (reports_csv, projections_csv, images_dir, splits_csv)
    training, validation = (_read_studies(*archive, split) for split in (train_split, val_split))
    with progress_bar() as progress:
        summary = train(settings, training, validation, out, progress=TrainingReporter(progress))
    if as_json:
        print_json(msgspec.to_builtins(summary))
    else:
        say(
            f"{summary.checkpoint}: epoch {summary.best_epoch} of {summary.epochs} was the best; "
            f"next: cxr export NAME --checkpoint {out}"
        )


def _read_studies(
    reports_csv: Path, projections_csv: Path, images_dir: Path, splits_csv: Path, split: str
) -> list[Study]:
    """The studies of one split of an archive in the Indiana format; a message counts quarantined rows and files."""
    uids = read_split(splits_csv, split)
    records = list(IndianaSource(reports_csv, projections_csv, images_dir, uids=uids))
    quarantined = [record for record in records if isinstance(record, Quarantined)]
    if quarantined:
        say(f"{len(quarantined)} rows or files of split {split} are not used; the first: {quarantined[0].detail}")
    return list(studies_of(records))
