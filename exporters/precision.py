"""Smaller and faster forms of a proven float32 bundle, each measured against it before it may stand in its place."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray
from PIL import Image

from exporters.log_levels import only_errors
from retrieval.errors import ExportError, ParityError
from retrieval.imaging.model_input import Preprocessing
from retrieval.imaging.preprocess import ImagePreprocessor
from retrieval.model.bundle import IMAGE_GRAPH, TEXT_GRAPH, TOKENIZER, PrecisionCheck, Tokenization
from retrieval.model.session import OrtSession
from retrieval.model.tokenize import TextTokenizer

Precision = Literal["fp32", "fp16", "int8"]

GATES: dict[str, tuple[float, float, float]] = {"fp16": (0.9999, 0.999, 0.97), "int8": (0.995, 0.98, 0.90)}
"""Least mean cosine, worst cosine and top-10 agreement with float32. fp16 keeps 11 bits and should be all but equal; int8
is let through where at most one hit in ten changes."""

Message = TypeVar("Message", onnx.NodeProto, onnx.TensorProto, onnx.ValueInfoProto)

NEIGHBOURS = 10
_BATCH = 8


def convert_graphs(folder: Path, precision: Precision) -> None:
    """Replace the float32 graphs in `folder` by their `precision` form; inputs and outputs stay float32 and int64.

    Raises:
        ExportError: the graph holds nothing that this precision changes, or the converter does not take it.
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
            except Exception as error:  # the converters raise whatever the graph makes them trip over
                raise ExportError(f"{name} cannot be converted to {precision}: {error}") from error
            for old in (path, *folder.glob(f"{name}.data")):
                old.unlink()
            _rename_graph(draft, path)


def run_set(
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


def compare(
    exact: tuple[NDArray[np.float32], NDArray[np.float32]],
    found: tuple[NDArray[np.float32], NDArray[np.float32]],
    precision: Precision,
    sample: str,
) -> PrecisionCheck:
    """How far embeddings of a lower precision are from those of float32, image and text, and whether that passes.

    Top-10 agreement: the share of each query's ten nearest images, itself left out, that float32 also has among its ten;
    image queries and text queries apart, all candidates from the same precision as the query.
    """
    image_cosines, text_cosines = (_cosines(one, other) for one, other in zip(exact, found, strict=True))
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
    return msgspec.structs.replace(check, passed=not faults(check, precision))


def faults(check: PrecisionCheck, precision: Precision) -> list[str]:
    """What keeps `check` from passing the gate of `precision`, in words."""
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
        ParityError: naming each figure out of bounds and what to do.
    """
    if not check.passed:
        raise ParityError(
            f"{precision} changes this model too much: {'; '.join(faults(check, precision))}, on {check.images} images "
            f"and {check.texts} texts ({check.sample}). No bundle was written; export another precision, or repeat with "
            "--allow-lossy to keep it all the same"
        )


def top_agreement(exact: NDArray[np.float32], found: NDArray[np.float32], *, leave_self_out: bool = False) -> float:
    """Mean share of the ten best columns of each row of `exact` that are among the ten best of `found`, 0..1.

    With fewer than eleven columns it compares the better half, so that the figure can fail.
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
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = onnx.load(path)
    # Its shape inference passes the model through one protobuf, which ends at 2 GB.
    large = any(path.parent.glob(f"{path.name}.data"))
    restore = _detach_normalization(model)
    model = convert_float_to_float16(model, keep_io_types=True, disable_shape_infer=large)
    restore(model)
    onnx.save(model, target)


def _detach_normalization(model: onnx.ModelProto) -> Callable[[onnx.ModelProto], None]:
    """Cut off what follows the last norm; the function that is returned puts it back, in float32.

    The index relies on unit length, which 11 bits miss, and the converter rounds after every node that it is told to leave.
    """
    graph = model.graph
    place = max((index for index, node in enumerate(graph.node) if node.op_type == "ReduceL2"), default=None)
    if place is None:
        return lambda converted: None
    tail = [_copy(node) for node in graph.node[place:]]
    del graph.node[place:]
    made = {name for node in tail for name in node.output}
    for value in [each for each in graph.value_info if each.name in made]:
        graph.value_info.remove(value)  # its type would be turned to float16
    output = _copy(graph.output[0])
    graph.output[0].name = tail[0].input[0]
    # Constants of the tail, under names that the converter has not seen.
    asked = {name for node in tail for name in node.input}
    constants = [_copy(each) for each in graph.initializer if each.name in asked]
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
    from onnxruntime.quantization import QuantType, quantize_dynamic

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
            f"{path.name} has no matrix product with constant weights, which is all that int8 changes; "
            "a convolutional tower gains nothing from it: export fp32 or fp16"
        )


def _rename_graph(draft: Path, path: Path) -> None:
    """Give a converted graph the name of the old one; external weights are named inside it and so are written anew."""
    data = list(draft.parent.glob(f"{draft.name}.data"))
    if not data:
        os.replace(draft, path)
        return
    model = onnx.load(draft)
    onnx.save(model, path, save_as_external_data=True, location=f"{path.name}.data")
    for old in (draft, *data):
        old.unlink()


def _cosines(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    first, second = one.astype(np.float64), other.astype(np.float64)
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    cosines: NDArray[np.float64] = (first * second).sum(axis=1) / lengths
    return cosines
