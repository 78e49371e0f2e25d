"""Precisions below fp32 are measured; one that changes too much is refused."""

from __future__ import annotations

import msgspec
import numpy as np
import onnx
import pytest
import torch
from torch import nn

from exporters.export import export_model
from exporters.onnx_graphs import write_graph
from exporters.parity import TEXTS, default_images
from exporters.precision import (
    GATES,
    compare_embeddings,
    convert_graphs,
    failed_limits,
    require_precision,
    top_agreement,
)
from exporters.sample import Sample
from retrieval.errors import ExportError, ParityError
from retrieval.model.bundle import ModelBundle
from retrieval.model.encoder import Encoder
from retrieval.model.session import OrtSession


def unit(rows: int, columns: int = 16, *, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def a_sample() -> Sample:
    return Sample("patterns", [image for seed in range(3) for image in default_images(seed)], TEXTS)


@pytest.mark.parametrize(
    ("precision", "kind"),
    [
        ("fp16", "clip"),
        ("int8", "clip"),
        ("int8", "siglip-unigram"),
        ("fp16", "open-clip-bert"),
        pytest.param("fp16", "siglip-unigram", marks=pytest.mark.real),
        pytest.param("int8", "open-clip-bert", marks=pytest.mark.real),
    ],
)
@pytest.mark.usefixtures("copied_graphs")
def test_a_lower_precision_is_smaller_and_carries_its_measurement(
    kind, precision, exported, checkpoint_folder, tmp_path
):
    exact = exported(kind)
    lower = export_model(
        name="lower",
        source=checkpoint_folder(kind),
        out_dir=tmp_path,
        precision=precision,
        sample=a_sample,
        allow_lossy=True,
    )
    manifest = ModelBundle.load(lower.folder).manifest
    check = manifest.precision_check
    assert manifest.precision == precision
    assert check is not None and check == lower.precision_check
    assert (check.images, check.texts, check.sample) == (3 * len(default_images()), len(TEXTS), "patterns")
    assert check.passed == (not failed_limits(check, precision))
    assert lower.bundle_id != exact.bundle_id
    # int8 does not change convolutions and embeddings, which are much of a tiny model.
    assert lower.size_bytes < exact.size_bytes
    # The recorded figures are those of the written graphs.
    images = default_images()[:4]
    one, other = (Encoder(ModelBundle.load(each.folder), device="cpu").encode_images(images) for each in (exact, lower))
    cosines = (one * other).sum(axis=1)
    assert cosines.min() >= check.image_cosine_min - 3e-4  # int8 scales activations by batch, and this batch is smaller
    np.testing.assert_allclose(np.linalg.norm(other, axis=1), 1, atol=1e-5)


@pytest.mark.usefixtures("copied_graphs")
def test_fp16_passes_its_gate_on_a_well_behaved_model(checkpoint_folder, tmp_path):
    summary = export_model(
        name="half", source=checkpoint_folder("clip"), out_dir=tmp_path, precision="fp16", sample=a_sample
    )
    assert summary.precision_check is not None
    assert summary.precision_check.passed
    graph = onnx.load(summary.folder / "image.onnx").graph
    kinds = {weight.data_type for weight in graph.initializer if len(weight.dims) >= 2}
    assert onnx.TensorProto.FLOAT16 in kinds
    assert {node.type.tensor_type.elem_type for node in (*graph.input, *graph.output)} == {onnx.TensorProto.FLOAT}


@pytest.mark.usefixtures("copied_graphs")
def test_a_precision_that_fails_its_gate_is_not_written_unless_allowed(checkpoint_folder, tmp_path, monkeypatch):
    monkeypatch.setitem(GATES, "int8", (1.1, 1.1, 1.1))
    arguments = {"source": checkpoint_folder("clip"), "out_dir": tmp_path, "precision": "int8", "sample": a_sample}
    with pytest.raises(ParityError, match=r"image_cosine_mean .* \(at least 1.1\).*--allow-lossy"):
        export_model(name="lossy", **arguments)
    assert list(tmp_path.iterdir()) == []
    kept = export_model(name="lossy", allow_lossy=True, **arguments)
    check = ModelBundle.load(kept.folder).manifest.precision_check
    assert check is not None and not check.passed


def test_int8_refuses_a_tower_without_matrix_products(tmp_path):
    path = tmp_path / "image.onnx"
    tower = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    write_graph(tower, torch.zeros(2, 3, 8, 8), "pixel_values", "image_embeds", path)
    with pytest.raises(ExportError, match=r"image\.onnx has no matrix product.*export this model .* as fp32 or fp16"):
        convert_graphs(tmp_path, "int8")


def test_top_agreement_by_hand():
    exact = np.array([[5, 4, 3, 2, 1, 0], [0, 1, 2, 3, 4, 5]], dtype=np.float32)
    found = np.array([[5, 4, 0, 3, 2, 1], [0, 1, 2, 5, 4, 3]], dtype=np.float32)
    # Of six columns the best three count: the first row keeps two of them, the second all three in another order.
    assert top_agreement(exact, found) == pytest.approx((2 / 3 + 3 / 3) / 2)


def test_top_agreement_leaves_a_query_out_of_its_own_neighbours():
    same = np.array([[9, 1, 2, 3], [1, 9, 3, 2], [2, 3, 9, 1], [3, 2, 1, 9]], dtype=np.float32)
    other = same.copy()
    np.fill_diagonal(other, -9)
    assert top_agreement(same, other, leave_self_out=True) == 1
    assert top_agreement(same, other) < 1


def test_a_comparison_states_every_figure_by_hand():
    images, texts = unit(30), unit(12, seed=1)
    equal = compare_embeddings((images, texts), (images, texts), "fp16", "a set")
    assert equal.passed and equal.image_top10_agreement == equal.text_top10_agreement == 1
    turned = images.copy()
    turned[0] = -turned[0]
    worse = compare_embeddings((images, texts), (turned, texts), "fp16", "a set")
    assert worse.image_cosine_min == pytest.approx(-1)
    assert worse.image_cosine_mean == pytest.approx(28 / 30)
    assert worse.text_cosine_min == pytest.approx(1)
    assert not worse.passed
    with pytest.raises(ParityError, match="fp16 changes this model too much: image_cosine_mean"):
        require_precision(worse, "fp16")


def test_a_figure_that_is_not_a_number_fails():
    images, texts = unit(30), unit(12, seed=1)
    check = compare_embeddings((images, texts), (images, texts), "int8", "a set")
    broken = msgspec.structs.replace(check, text_cosine_min=float("nan"))
    assert failed_limits(broken, "int8") == ["text_cosine_min nan (at least 0.98)"]


def test_bound_inputs_give_the_same_as_plain_ones(exported):
    summary = exported("clip")
    session = OrtSession(summary.folder / "image.onnx", device="cpu")
    size = summary.image_size
    pixels = np.random.default_rng(0).standard_normal((3, 3, size, size)).astype(np.float32)
    for values in (pixels, pixels[::2], np.asfortranarray(pixels)):
        plain, bound = (run("image_embeds", {"pixel_values": values}) for run in (session.run, session.run_bound))
        np.testing.assert_array_equal(plain, bound)
