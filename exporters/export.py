"""Exports a checkpoint as a model bundle: two graphs, a tokenizer, and a manifest that is written last."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from PIL import Image

from evaluation.process_memory import peak_memory_bytes
from exporters.bundle_writer import write_bundle, write_manifest
from exporters.checkpoints.checkpoint import Checkpoint
from exporters.checkpoints.load import load_checkpoint
from exporters.checkpoints.location import Family
from exporters.onnx_graphs import OPSET, write_graphs
from exporters.parity import TEXTS, default_images, measure_parity, require_parity
from exporters.precision import Precision, compare_embeddings, convert_graphs, embed_sample, require_precision
from exporters.registry import ModelEntry
from exporters.sample import Sample
from exporters.square_padding import with_square_padding
from exporters.text_padding import shortest_tokenization
from retrieval.errors import ExportError
from retrieval.model.bundle import (
    TOKENIZER,
    Parity,
    PrecisionCheck,
)
from retrieval.progress import NoProgress, StageProgress

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_RECORDED = ("torch", "transformers", "open_clip_torch", "timm", "onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True, slots=True)
class ExportSummary:
    """Result of an export, for the command line and its JSON."""

    name: str
    folder: Path
    bundle_id: str
    family: Family
    source: str
    revision: str | None
    dim: int
    image_size: int
    context_length: int
    precision: str
    size_bytes: int
    parity: Parity
    precision_check: PrecisionCheck | None
    seconds: float
    peak_memory_bytes: int
    """Largest resident size of this process so far."""

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON types."""
        fields = asdict(self)
        return fields | {
            "folder": str(self.folder),
            "parity": msgspec.to_builtins(self.parity),
            "precision_check": msgspec.to_builtins(self.precision_check),
        }


def export_model(
    *,
    name: str,
    source: str | Path,
    out_dir: Path,
    entry: ModelEntry | None = None,
    revision: str | None = None,
    licence: str = "unknown",
    precision: Precision = "fp32",
    sample: Callable[[], Sample] | None = None,
    allow_lossy: bool = False,
    pad_square: bool = False,
    images: Sequence[Image.Image] | None = None,
    texts: Sequence[str] | None = None,
    progress: StageProgress | None = None,
) -> ExportSummary:
    """Export the checkpoint `source` (folder or hub id) as the bundle `out_dir/name`.

    Args:
        name: Name of the bundle: lower-case letters, digits, dot, dash and underscore.
        source: Folder or hub id of the checkpoint.
        out_dir: Folder of the bundles.
        entry: Registry entry of the model. Another `source` must have its dimensions, image size and context length.
        revision: Commit on the hub; None takes the newest.
        licence: Licence to record.
        precision: A precision below fp32 is converted from graphs that passed parity, and compared with them.
        sample: Images and texts for that comparison; built-in ones if None.
        allow_lossy: Keep a precision that fails its gate.
        pad_square: Pad every image to a square with black margins before the processor's own resize.
        images: Images on which parity is measured; built-in ones if None.
        texts: Texts on which parity is measured; built-in ones if None.
        progress: Receives each stage.

    Raises:
        ExportError: the checkpoint cannot be loaded or exported, is another model than `entry`, or the folder cannot be
            written.
        ParityError: the graphs do not reproduce the reference, or the lower precision changes too much.
    """
    if not _NAME.fullmatch(name):
        raise ExportError(f"{name!r} cannot name a model: use lower-case letters, digits, dot, dash and underscore")
    started = time.monotonic()
    progress = progress or NoProgress()
    progress.stage("loading the checkpoint")
    checkpoint = load_checkpoint(
        source,
        family=entry.family if entry else None,
        revision=revision,
        lender=entry.lender if entry else None,
    )
    if entry and source != entry.source:  # the entry's own source is that model even if its maker changes it
        _require_model(checkpoint, entry)
    if pad_square:
        checkpoint = with_square_padding(checkpoint)
    check: PrecisionCheck | None = None
    try:
        with write_bundle(out_dir / name) as draft:
            (draft / TOKENIZER).write_text(checkpoint.tokenizer_json, encoding="utf-8")
            tokenization = shortest_tokenization(checkpoint, draft / TOKENIZER)
            checkpoint = dataclasses.replace(checkpoint, tokenization=tokenization)
            write_graphs(checkpoint, draft, progress)
            progress.stage("measuring parity with the reference")
            parity = measure_parity(draft, checkpoint, images or default_images(), texts or TEXTS)
            require_parity(parity)
            if precision != "fp32":
                check = _lower_precision(draft, checkpoint, precision, (sample or _default_sample)(), progress)
                if not allow_lossy:
                    require_precision(check, precision)
            manifest = write_manifest(draft, _manifest_fields(name, licence, checkpoint, parity, precision, check))
    except OSError as error:
        raise ExportError(
            f"the bundle cannot be written to {out_dir}: {error.strerror or error}; no file was left there"
        ) from error
    folder = out_dir / name
    return ExportSummary(
        name=name,
        folder=folder,
        bundle_id=manifest.bundle_id,
        family=checkpoint.family,
        source=checkpoint.source,
        revision=checkpoint.revision,
        dim=checkpoint.dim,
        image_size=checkpoint.preprocessing.size,
        context_length=checkpoint.tokenization.context_length,
        precision=manifest.precision,
        size_bytes=sum(path.stat().st_size for path in folder.iterdir()),
        parity=parity,
        precision_check=check,
        seconds=time.monotonic() - started,
        peak_memory_bytes=peak_memory_bytes(),
    )


def _lower_precision(
    folder: Path, checkpoint: Checkpoint, precision: Precision, sample: Sample, progress: StageProgress
) -> PrecisionCheck:
    """Convert the graphs in `folder` to `precision`; returns the comparison with fp32."""
    inputs = (checkpoint.preprocessing, checkpoint.tokenization, sample.images, sample.texts)
    progress.stage(f"embedding {len(sample.images)} images and {len(sample.texts)} texts in fp32")
    exact = embed_sample(folder, *inputs)
    progress.stage(f"converting to {precision}")
    convert_graphs(folder, precision)
    progress.stage(f"comparing {precision} with fp32")
    return compare_embeddings(exact, embed_sample(folder, *inputs), precision, sample.name)


def _require_model(checkpoint: Checkpoint, entry: ModelEntry) -> None:
    found = (checkpoint.dim, checkpoint.preprocessing.size, checkpoint.tokenization.context_length)
    expected = (entry.dim, entry.image_size, entry.context_length)
    if found != expected:
        form = "{} dimensions, {} px images and {} tokens".format
        raise ExportError(
            f"{checkpoint.source} is not {entry.key}: it has {form(*found)}, expected {form(*expected)}; give the folder of "
            f"{entry.source}, or give a model of your own another name (cxr export NAME --checkpoint …)"
        )


def _default_sample() -> Sample:
    return Sample("built-in patterns", [image for seed in range(3) for image in default_images(seed)], TEXTS)


def _manifest_fields(
    name: str,
    licence: str,
    checkpoint: Checkpoint,
    parity: Parity,
    precision: Precision,
    check: PrecisionCheck | None,
) -> dict[str, object]:
    return {
        "name": name,
        "family": checkpoint.family,
        # The path on this machine means nothing elsewhere.
        "source": Path(checkpoint.source).name if Path(checkpoint.source).is_dir() else checkpoint.source,
        "revision": checkpoint.revision,
        "licence": licence,
        "dim": checkpoint.dim,
        "precision": precision,
        "preprocessing": checkpoint.preprocessing,
        "tokenization": checkpoint.tokenization,
        "logit_scale": checkpoint.logit_scale,
        "logit_bias": checkpoint.logit_bias,
        "parity": parity,
        "precision_check": check,
        "borrowed": checkpoint.borrowed,
        "exporter": {package: version(package) for package in _RECORDED} | {"opset": str(OPSET)},
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
