"""The commands `cxr export` and `cxr finetune`; `cxr models` stands beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from exporters.models_cli import models_app
from retrieval.console import DeviceOption, JsonOption, print_json, read_settings, say

if TYPE_CHECKING:
    from exporters.export import Sample
    from retrieval.records import Study

StudyReader = Callable[[Path, Path, Path, Path | None, str], "Sequence[Study]"]
"""Reads reports, projections, images and, if splits are given, one split of them."""

SampleReader = Callable[[Path | None, int], "Sample"]
"""Reads so many images with their reports from an archive's folder, or draws them where there is none."""


def mount(app: typer.Typer, *, read_studies: StudyReader, read_sample: SampleReader) -> None:
    """Add the commands to `app`. Archives are read through `read_studies` and `read_sample`, which belong elsewhere."""
    app.add_typer(models_app, name="models")
    _add_export(app, read_sample)

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


def _add_export(app: typer.Typer, read_sample: SampleReader) -> None:
    @app.command()
    def export(
        key: Annotated[str, typer.Argument(help="A key of `cxr models`, or a new name together with --checkpoint.")],
        checkpoint: Annotated[
            str | None, typer.Option("--checkpoint", help="Folder or hub id to read instead of the registry's source.")
        ] = None,
        revision: Annotated[str | None, typer.Option("--revision", help="Revision on the hub.")] = None,
        name: Annotated[
            str | None,
            typer.Option("--name", help="Name of the bundle; KEY, or KEY-fp16 and KEY-int8 for those precisions."),
        ] = None,
        precision: Annotated[
            str, typer.Option("--precision", help="fp32, fp16 (for GPUs) or int8 (for CPUs).")
        ] = "fp32",
        allow_lossy: Annotated[
            bool, typer.Option("--allow-lossy", help="Keep a precision that fails its gate; the manifest says so.")
        ] = False,
        sample: Annotated[
            Path | None,
            typer.Option(
                "--sample",
                envvar="CXR_INDIANA_DIR",
                help="Folder of the Indiana archive on which a precision is compared; drawn phantoms without it.",
            ),
        ] = None,
        sample_images: Annotated[int, typer.Option("--sample-images", min=12, help="Images and reports of it.")] = 64,
        pad_square: Annotated[
            bool,
            typer.Option(
                "--pad-square", help="Pad to a square first, as MedSigLIP was trained; see `cxr models show`."
            ),
        ] = False,
        licence: Annotated[
            str | None, typer.Option("--licence", help="Licence to record for a model of your own.")
        ] = None,
        accept_license: Annotated[
            bool, typer.Option("--accept-license", help="You have read and accept a restricted model's terms.")
        ] = False,
        as_json: JsonOption = False,
    ) -> None:
        """Turn a checkpoint into a model bundle: ONNX towers, proven equal to the reference model before it is installed.

        \b
        cxr export biomedclip
        cxr export biomedclip --precision int8
        cxr export medsiglip-448 --accept-license --pad-square
        cxr export my-model --checkpoint ./my-checkpoint
        """
        from exporters.registry import REGISTRY, find_entry, require_licence
        from retrieval.errors import InvalidRequest

        if precision not in ("fp32", "fp16", "int8"):
            raise InvalidRequest(f"--precision must be fp32, fp16 or int8, not {precision!r}")
        entry = find_entry(key) if checkpoint is None else REGISTRY.get(key)
        if entry is not None:
            require_licence(entry, accept_license)
        from exporters.export import export_model

        bundle = name or (key if precision == "fp32" else f"{key}-{precision}")
        summary = export_model(
            name=bundle,
            source=checkpoint or (entry.source if entry else key),
            out_dir=read_settings().models_dir,
            entry=entry,
            revision=revision or (entry.revision if entry else None),
            licence=licence or (entry.licence if entry else "unknown"),
            precision=precision,  # type: ignore[arg-type]  # checked above
            sample=lambda: read_sample(sample, sample_images),
            allow_lossy=allow_lossy,
            pad_square=pad_square,
            progress=say,
        )
        if as_json:
            print_json(summary.to_dict())
            return
        check = summary.precision_check
        if check is not None:
            say(
                f"{precision} against fp32 on {check.images} images ({check.sample}): cosine {check.image_cosine_mean:.5f} "
                f"(worst {check.image_cosine_min:.5f}), top-10 agreement {check.image_top10_agreement:.2f}"
                + ("" if check.passed else "; it FAILED its gate and is kept because of --allow-lossy")
            )
        say(
            f"{bundle} is installed in {summary.folder} (bundle {summary.bundle_id}); next: cxr ingest --model {bundle} …"
        )
