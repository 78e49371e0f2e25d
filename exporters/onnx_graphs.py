"""Writes the two towers of a checkpoint as ONNX graphs."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from exporters.checkpoints.checkpoint import Checkpoint
from exporters.log_levels import only_errors
from retrieval.errors import ExportError
from retrieval.model.bundle import IMAGE_GRAPH, TEXT_GRAPH
from retrieval.progress import StageProgress

OPSET = 20
"""The first opset with `Gelu` as one operator. Before it, SigLIP's tanh form is eight operators that are not fused."""
EXTERNAL_DATA_BYTES = 1_900_000_000
"""A protobuf holds less than 2 GiB; larger weights go to a file beside the graph."""


def write_graphs(checkpoint: Checkpoint, folder: Path, progress: StageProgress) -> None:
    """Write the two towers as ONNX. The batch axis is dynamic; so is the text length if padding is `longest`.

    Raises:
        ExportError: the exporter cannot translate a tower.
    """
    size = checkpoint.preprocessing.size
    # A batch of 2, because torch.export makes an axis of length 1 constant.
    pixel_values = torch.zeros(2, 3, size, size)
    settings = checkpoint.tokenization
    any_length = settings.padding == "longest"
    # Shorter than the context, or torch.export would make that length constant.
    length = settings.context_length // 2 if any_length else settings.context_length
    input_ids = torch.full((2, length), settings.pad_id)
    input_ids[:, :2] = torch.from_numpy(checkpoint.reference_tokens(["chest", "heart"])["input_ids"][:, :2])
    axes = {0: torch.export.Dim("batch")}
    progress.stage("exporting the image tower")
    write_graph(checkpoint.image_tower, pixel_values, "pixel_values", "image_embeds", folder / IMAGE_GRAPH, axes)
    progress.stage("exporting the text tower")
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
    """Write `tower` as ONNX with one input and one output. `axes` of the input are dynamic, by default the first.

    Weights are in the same file up to `EXTERNAL_DATA_BYTES`, else in one beside it.

    Raises:
        ExportError: the exporter cannot translate the tower.
    """
    weights = sum(tensor.numel() * tensor.element_size() for tensor in tower.state_dict().values())
    try:
        with _suppress_output(), torch.inference_mode():
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
            # Stack traces of nodes hold paths of this machine, and would make each export a different file.
            for node in program.model.graph.all_nodes():
                node.metadata_props.clear()
            program.save(path, external_data=weights > EXTERNAL_DATA_BYTES)
    except OSError:
        raise
    except Exception as error:  # torch.export, the converter and onnx raise many kinds
        raise ExportError(f"{path.name}: torch cannot export this tower to ONNX: {error}") from error


@contextlib.contextmanager
def _suppress_output() -> Iterator[None]:
    """Suppress output within the block: the exporter prints its stages, logs decompositions and warns of its internals."""
    with (
        only_errors("torch.onnx", "torch.export", "onnxscript", "onnx_ir"),
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield
