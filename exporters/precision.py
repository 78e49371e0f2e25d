"""Converts a float32 bundle to fp16 or int8 and compares the embeddings with those of float32."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray
from PIL import Image

from exporters.cosines import row_cosines
from exporters.log_levels import only_errors
from retrieval.errors import ExportError, ParityError
from retrieval.imaging.model_input import Preprocessing
from retrieval.imaging.preprocess import ImagePreprocessor
from retrieval.model.bundle import IMAGE_GRAPH, TEXT_GRAPH, TOKENIZER, PrecisionCheck, Tokenization
from retrieval.model.session import OrtSession
from retrieval.model.tokenize import TextTokenizer

Precision = Literal["fp32", "fp16", "int8"]

GATES: dict[str, tuple[float, float, float]] = {"fp16": (0.9999, 0.999, 0.97), "int8": (0.995, 0.98, 0.90)}
"""Lowest allowed mean cosine, worst cosine and top-10 agreement with float32. fp16 keeps 11 bits and should be almost
equal. int8 passes if at most one hit in ten changes."""

Message = TypeVar("Message", onnx.NodeProto, onnx.TensorProto, onnx.ValueInfoProto)

NEIGHBOURS = 10
_BATCH = 8


def convert_graphs(folder: Path, precision: Precision) -> None:
    """Replace the float32 graphs in `folder` by graphs in `precision`. Inputs and outputs stay float32 and int64.

    Raises:
        ExportError: the precision changes nothing in the graph, or the converter cannot convert it.
    """
    for name in (IMAGE_GRAPH, TEXT_GRAPH):
        path = folder / name
        if path.is_file():
            draft = folder / f"converted-{name}"
            try:
                with only_errors("onnxruntime", "root"):
                    (_to_fp16 if precision == "fp16" else _to_int8)(path, draft)
            except OSError:
                raise
            except ExportError:
                raise
            except Exception as error:  # the converters raise many kinds
                raise ExportError(f"{name} cannot be converted to {precision}: {error}") from error
            for old in (path, *folder.glob(f"{name}.data")):
                old.unlink()
            _rename_graph(draft, path)


def embed_sample(
    folder: Path,
    preprocessing: Preprocessing,
    tokenization: Tokenization,
    images: Sequence[Image.Image],
    texts: Sequence[str],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Embeddings of `images` and `texts` by the graphs in `folder`, float32 [N, D] each, on the CPU."""
    preprocess = ImagePreprocessor(preprocessing)
    image_session = OrtSession(folder / IMAGE_GRAPH, device="cpu")
    image_embeds = [
        image_session.run("image_embeds", {"pixel_values": preprocess.batch(images[start : start + _BATCH])})
        for start in range(0, len(images), _BATCH)
    ]
    del image_session
    tokenize = TextTokenizer(folder / TOKENIZER, tokenization)
    text_session = OrtSession(folder / TEXT_GRAPH, device="cpu")
    text_embeds = [
        text_session.run("text_embeds", tokenize(texts[start : start + _BATCH]))
        for start in range(0, len(texts), _BATCH)
    ]
    return np.concatenate(image_embeds), np.concatenate(text_embeds)


def compare_embeddings(
    exact: tuple[NDArray[np.float32], NDArray[np.float32]],
    found: tuple[NDArray[np.float32], NDArray[np.float32]],
    precision: Precision,
    sample: str,
) -> PrecisionCheck:
    """The comparison of embeddings in a lower precision (`found`) with those in float32 (`exact`), images and texts.

    Top-10 agreement is the share of a query's ten nearest images that float32 also has among its ten. The query itself
    does not count. Image and text queries are averaged separately. Query and candidates have the same precision.
    """
    image_cosines, text_cosines = (row_cosines(one, other) for one, other in zip(exact, found, strict=True))
    check = PrecisionCheck(
        sample=sample,
        images=len(exact[0]),
        texts=len(exact[1]),
        image_cosine_mean=float(image_cosines.mean()),
        image_cosine_min=float(image_cosines.min()),
        text_cosine_mean=float(text_cosines.mean()),
        text_cosine_min=float(text_cosines.min()),
        image_top10_agreement=top_agreement(exact[0] @ exact[0].T, found[0] @ found[0].T, leave_self_out=True),
        text_top10_agreement=top_agreement(exact[1] @ exact[0].T, found[1] @ found[0].T),
        passed=False,
    )
    return msgspec.structs.replace(check, passed=not failed_limits(check, precision))


def failed_limits(check: PrecisionCheck, precision: Precision) -> list[str]:
    """Each figure of `check` that is below its limit for `precision`, in words."""
    mean, worst, agreement = GATES[precision]
    limits = {
        "image_cosine_mean": mean,
        "text_cosine_mean": mean,
        "image_cosine_min": worst,
        "text_cosine_min": worst,
        "image_top10_agreement": agreement,
        "text_top10_agreement": agreement,
    }
    return [
        f"{name} {getattr(check, name):.4f} (at least {least})"
        for name, least in limits.items()
        if not getattr(check, name) >= least
    ]


def require_precision(check: PrecisionCheck, precision: Precision) -> None:
    """Refuse a precision that failed its gate.

    Raises:
        ParityError: names each figure that is out of bounds and the remedy.
    """
    if not check.passed:
        raise ParityError(
            f"{precision} changes this model too much: {'; '.join(failed_limits(check, precision))}, on {check.images} "
            f"images and {check.texts} texts ({check.sample}). No bundle was written; export another precision, or "
            "repeat with --allow-lossy to keep it anyway"
        )


def top_agreement(exact: NDArray[np.float32], found: NDArray[np.float32], *, leave_self_out: bool = False) -> float:
    """Mean share of the ten best columns of each row of `exact` that are among the ten best of `found`, 0..1.

    With fewer than twenty columns it compares the better half, so that the agreement is not always 1.
    """
    if leave_self_out:
        exact, found = exact.copy(), found.copy()
        np.fill_diagonal(exact, -np.inf)
        np.fill_diagonal(found, -np.inf)
    count = min(NEIGHBOURS, max(1, exact.shape[1] // 2))
    best, other = (np.argsort(-scores, axis=1, kind="stable")[:, :count] for scores in (exact, found))
    shared = [len(set(one) & set(two)) for one, two in zip(best.tolist(), other.tolist(), strict=True)]
    return float(np.mean(shared) / count)


def _to_fp16(path: Path, target: Path) -> None:
    from onnxruntime.transformers.float16 import convert_float_to_float16  # extra cpu or gpu

    model = onnx.load(path)
    # Shape inference serializes the model as one protobuf, which is limited to 2 GB.
    large = any(path.parent.glob(f"{path.name}.data"))
    restore = _detach_normalization(model)
    model = convert_float_to_float16(model, keep_io_types=True, disable_shape_infer=large)
    restore(model)
    onnx.save(model, target)


def _detach_normalization(model: onnx.ModelProto) -> Callable[[onnx.ModelProto], None]:
    """Remove the L2 normalization from `model`; returns a function that puts it back, in float32.

    The index relies on unit length, which 11 bits cannot give. The converter rounds even after nodes that it must leave.
    """
    graph = model.graph
    place = max((index for index, node in enumerate(graph.node) if node.op_type == "ReduceL2"), default=None)
    if place is None:
        return lambda converted: None
    tail = [_copy(node) for node in graph.node[place:]]
    del graph.node[place:]
    made = {name for node in tail for name in node.output}
    for value in [each for each in graph.value_info if each.name in made]:
        graph.value_info.remove(value)  # the converter would change its type to float16
    output = _copy(graph.output[0])
    graph.output[0].name = tail[0].input[0]
    # Rename the constants of the tail, so that they differ from those that the converter changes.
    needed = {name for node in tail for name in node.input}
    constants = [_copy(each) for each in graph.initializer if each.name in needed]
    renamed = {each.name: f"normalization.{each.name}" for each in constants}
    for each in constants:
        each.name = renamed[each.name]
    for node in tail:
        node.input[:] = [renamed.get(name, name) for name in node.input]

    def restore(converted: onnx.ModelProto) -> None:
        converted.graph.node.extend(tail)
        converted.graph.initializer.extend(constants)
        converted.graph.output[0].CopyFrom(output)

    return restore


def _copy(message: Message) -> Message:
    copied = type(message)()
    copied.CopyFrom(message)
    return copied


def _to_int8(path: Path, target: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic  # extra cpu or gpu

    large = any(path.parent.glob(f"{path.name}.data"))
    quantize_dynamic(
        path,
        target,
        op_types_to_quantize=["MatMul", "Gemm"],
        per_channel=True,
        weight_type=QuantType.QInt8,
        use_external_data_format=large,
    )
    quantized = onnx.load(target, load_external_data=False)
    if not any(node.op_type in ("MatMulInteger", "DynamicQuantizeMatMul") for node in quantized.graph.node):
        raise ExportError(
            f"{path.name} has no matrix product with constant weights, and int8 changes nothing else; "
            "export this model (a convolutional tower?) as fp32 or fp16"
        )


def _rename_graph(draft: Path, path: Path) -> None:
    """Rename a converted graph to `path`. A graph with external weights names their file and is written again."""
    data = list(draft.parent.glob(f"{draft.name}.data"))
    if not data:
        draft.rename(path)
        return
    model = onnx.load(draft)
    onnx.save(model, path, save_as_external_data=True, location=f"{path.name}.data")
    for old in (draft, *data):
        old.unlink()
