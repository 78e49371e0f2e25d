"""`cxr export`: turn a checkpoint into a model bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxr.console import print_json, say
from cxr.options import JsonOption
from cxr.progress import progress_bar
from cxr.settings import read_settings
from exporters.registry import REGISTRY, find_entry, require_licence
from exporters.sample import read_sample
from retrieval.errors import InvalidRequest


def export(
    key: Annotated[str, typer.Argument(help="A key of `cxr models`, or a new name with --checkpoint.")],
    checkpoint: Annotated[
        str | None, typer.Option("--checkpoint", help="Folder or hub id; replaces the source of the registry.")
    ] = None,
    revision: Annotated[str | None, typer.Option("--revision", help="Revision on the hub.")] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", help="Name of the bundle. [default: KEY, KEY-fp16 or KEY-int8]"),
    ] = None,
    precision: Annotated[str, typer.Option("--precision", help="fp32, fp16 (for GPUs) or int8 (for CPUs).")] = "fp32",
    allow_lossy: Annotated[
        bool,
        typer.Option("--allow-lossy", help="Keep a bundle that fails the precision check. The manifest records it."),
    ] = False,
    sample: Annotated[
        Path | None,
        typer.Option(
            "--sample",
            envvar="CXR_INDIANA_DIR",
            help="Folder of the Indiana archive for the precision check. [default: phantoms]",
        ),
    ] = None,
    sample_images: Annotated[
        int, typer.Option("--sample-images", min=12, help="Images and reports in the precision check.")
    ] = 64,
    pad_square: Annotated[
        bool,
        typer.Option(
            "--pad-square", help="Pad images to a square first, as in the training of MedSigLIP; see `cxr models show`."
        ),
    ] = False,
    licence: Annotated[str | None, typer.Option("--licence", help="Licence to record for your own model.")] = None,
    accept_license: Annotated[
        bool, typer.Option("--accept-license", help="You have read and accept the terms of a restricted model.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Turn a checkpoint into a model bundle of two ONNX towers.

    Before the bundle is installed, its embeddings are compared with those of the reference model, from the raw image and the
    raw text.

    \b
    cxr export biomedclip
    cxr export biomedclip --precision int8
    cxr export medsiglip-448 --accept-license --pad-square
    cxr export my-model --checkpoint ./my-checkpoint
    """
    from exporters.export import export_model  # needs the extra `export`; torch takes seconds, and help does without

    if precision not in ("fp32", "fp16", "int8"):
        raise InvalidRequest(f"--precision must be fp32, fp16 or int8, not {precision!r}")
    entry = find_entry(key) if checkpoint is None else REGISTRY.get(key)
    if entry is not None:
        require_licence(entry, accept_license)
    bundle = name or (key if precision == "fp32" else f"{key}-{precision}")
    with progress_bar() as progress:
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
            progress=progress,
        )
    if as_json:
        print_json(summary.to_dict())
        return
    check = summary.precision_check
    if check is not None:
        say(
            f"{precision} against fp32 on {check.images} images ({check.sample}): cosine {check.image_cosine_mean:.5f} "
            f"(worst {check.image_cosine_min:.5f}), top-10 agreement {check.image_top10_agreement:.2f}"
            + ("" if check.passed else "; it FAILED the precision check and is kept because of --allow-lossy")
        )
    say(f"{bundle} is installed in {summary.folder} (bundle {summary.bundle_id}); next: cxr ingest --model {bundle} …")
