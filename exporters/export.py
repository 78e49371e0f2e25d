"""From a checkpoint to a proven bundle: two graphs, a tokenizer, and a manifest that is written last."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import torch
from PIL import Image
from torch import Tensor, nn

from evaluation.process_memory import peak_memory_bytes
from exporters.bundle_writer import write_bundle, write_manifest
from exporters.checkpoints import Checkpoint, load_checkpoint
from exporters.log_levels import only_errors
from exporters.padding import proven_tokenization
from exporters.parity import TEXTS, default_images, measure_parity, require_parity
from exporters.precision import Precision, compare, convert_graphs, require_precision, run_set
from exporters.registry import ModelEntry
from exporters.sample import Sample
from exporters.sources import Family
from exporters.square import padded_square
from retrieval.errors import ExportError
from retrieval.model.bundle import (
    IMAGE_GRAPH,
    TEXT_GRAPH,
    TOKENIZER,
    Parity,
    PrecisionCheck,
)

OPSET = 20
"""The first with `Gelu` as one operator; before it, the tanh form that SigLIP uses is eight, none of them fused."""
EXTERNAL_DATA_BYTES = 1_900_000_000
"""A protobuf holds less than 2 GiB; larger weights go to a file beside the graph."""
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_RECORDED = ("torch", "transformers", "open_clip_torch", "timm", "onnx", "onnxscript", "onnxruntime")

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ExportSummary:
    """What an export made, for the command line and its JSON."""

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
    peak_memory_bytes: int | None
    """Largest resident size of this process so far; None where the system does not tell."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
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
    progress: Progress | None = None,
) -> ExportSummary:
    """Export the checkpoint `source` (folder or hub id) as the bundle `out_dir/name`.

    With `entry`, a `source` other than the entry's own must have its dimensions, image size and context length. Parity is
    measured on `images` and `texts`, else on a built-in set. A `precision` below fp32 is made from graphs that passed,
    and compared with them on `sample`; what fails its gate is only kept with `allow_lossy`. `pad_square` makes every
    image a square with black margins before the processor's own resize. `progress` is told each stage as it begins.

    Raises:
        ExportError: the checkpoint cannot be loaded or exported, is another model than `entry`, or the folder cannot be
            written.
        ParityError: the graphs do not reproduce the reference, or the lower precision changes too much.
    """
    if not _NAME.fullmatch(name):
        raise ExportError(f"{name!r} cannot name a model: use lower-case letters, digits, dot, dash and underscore")
    started = time.monotonic()
    tell = progress or (lambda stage: None)
    tell("loading the checkpoint")
    checkpoint = load_checkpoint(source, family=entry.family if entry else None, revision=revision)
    if entry and source != entry.source:  # the entry's own source is that model, whatever it is found to be
        _require_model(checkpoint, entry)
    if pad_square:
        checkpoint = padded_square(checkpoint)
    check: PrecisionCheck | None = None
    try:
        with write_bundle(out_dir / name) as draft:
            (draft / TOKENIZER).write_text(checkpoint.tokenizer_json, encoding="utf-8")
            tokenization = proven_tokenization(checkpoint, draft / TOKENIZER)
            checkpoint = dataclasses.replace(checkpoint, tokenization=tokenization)
            write_graphs(checkpoint, draft, tell)
            tell("proving parity with the reference")
            parity = measure_parity(draft, checkpoint, images or default_images(), texts or TEXTS)
            require_parity(parity)
            if precision != "fp32":
                check = _lower(draft, checkpoint, precision, (sample or _default_sample)(), tell)
                if not allow_lossy:
                    require_precision(check, precision)
            manifest = write_manifest(draft, _manifest_fields(name, licence, checkpoint, parity, precision, check))
    except OSError as error:
        raise ExportError(
            f"the bundle cannot be written to {out_dir}: {error.strerror or error}; nothing was left behind"
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


def write_graphs(checkpoint: Checkpoint, folder: Path, progress: Progress) -> None:
    """Write the two towers as ONNX, their batch axis dynamic, and the text's length, too, where padding is `longest`.

    Raises:
        ExportError: the exporter cannot translate a tower.
    """
    size = checkpoint.preprocessing.size
    # A batch of 2: torch.export would take an axis of 1 for a constant.
    pixel_values = torch.zeros(2, 3, size, size)
    settings = checkpoint.tokenization
    any_length = settings.padding == "longest"
    # Shorter than the context, lest torch.export takes the context for the only length there is.
    length = settings.context_length // 2 if any_length else settings.context_length
    input_ids = torch.full((2, length), settings.pad_id)
    input_ids[:, :2] = torch.from_numpy(checkpoint.reference_tokens(["chest", "heart"])["input_ids"][:, :2])
    axes = {0: torch.export.Dim("batch")}
    progress("exporting the image tower")
    write_graph(checkpoint.image_tower, pixel_values, "pixel_values", "image_embeds", folder / IMAGE_GRAPH, axes)
    progress("exporting the text tower")
    if any_length:
        axes[1] = torch.export.Dim("length", max=settings.context_length)
    write_graph(checkpoint.text_tower, input_ids, "input_ids", "text_embeds", folder / TEXT_GRAPH, axes)


def write_graph(
    tower: nn.Module,
    example: Tensor,
    input_name: str,
    output_name: str,
    path: Path,
    axes: dict[int, Any] | None = None,
) -> None:
    """Write `tower` as ONNX: one input, whose `axes` (by default the first) are dynamic, one output.

    Weights are inside the file unless they pass 2 GB.

    Raises:
        ExportError: the exporter cannot translate it.
    """
    weights = sum(tensor.numel() * tensor.element_size() for tensor in tower.state_dict().values())
    try:
        with _quiet(), torch.inference_mode():
            program = torch.onnx.export(
                tower,
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=[input_name],
                output_names=[output_name],
                dynamic_shapes=(axes or {0: torch.export.Dim("batch")},),
                verbose=False,
            )
            assert program is not None
            # Every node carries the stack trace it came from: paths of this machine, and another file on the next.
            for node in program.model.graph.all_nodes():
                node.metadata_props.clear()
            program.save(path, external_data=weights > EXTERNAL_DATA_BYTES)
    except OSError:
        raise
    except Exception as error:  # torch.export, the converter and onnx each have their own
        raise ExportError(f"{path.name}: torch cannot export this tower to ONNX: {error}") from error


def _lower(
    folder: Path, checkpoint: Checkpoint, precision: Precision, sample: Sample, tell: Progress
) -> PrecisionCheck:
    """Convert the graphs in `folder` and measure what that changes."""
    inputs = (checkpoint.preprocessing, checkpoint.tokenization, sample.images, sample.texts)
    tell(f"embedding {len(sample.images)} images and {len(sample.texts)} texts in fp32")
    exact = run_set(folder, *inputs)
    tell(f"converting to {precision}")
    convert_graphs(folder, precision)
    tell(f"comparing {precision} with fp32")
    return compare(exact, run_set(folder, *inputs), precision, sample.name)


def _require_model(checkpoint: Checkpoint, entry: ModelEntry) -> None:
    found = (checkpoint.dim, checkpoint.preprocessing.size, checkpoint.tokenization.context_length)
    expected = (entry.dim, entry.image_size, entry.context_length)
    if found != expected:
        form = "{} dimensions, {} px images and {} tokens".format
        raise ExportError(
            f"{checkpoint.source} is not {entry.key}: it has {form(*found)}, expected {form(*expected)}; give the folder of "
            f"{entry.source}, or export a model of your own under a name of its own (cxr export NAME --checkpoint …)"
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
        # A folder's place on this machine says nothing elsewhere.
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
        "exporter": {package: version(package) for package in _RECORDED} | {"opset": str(OPSET)},
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints its stages, logs every decomposition and warns about its own internals."""
    with (
        only_errors("torch.onnx", "torch.export", "onnxscript", "onnx_ir"),
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield
