"""An export writes a bundle that the engine runs, or no bundle."""

from __future__ import annotations

import dataclasses
import errno
import json
import shutil
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
import torch
from torch import nn

import exporters.export
import exporters.onnx_graphs
from exporters.checkpoints.checkpoint import Checkpoint
from exporters.checkpoints.load import load_checkpoint
from exporters.export import ExportSummary, export_model
from exporters.onnx_graphs import write_graph
from exporters.parity import COSINE_MIN, PIXELS_MAX_ABS, TEXTS, default_images, measure_parity, require_parity
from exporters.registry import find_entry
from retrieval.errors import DiskFull, ExportError, ParityError
from retrieval.model.bundle import ModelBundle
from retrieval.model.encoder import Encoder
from retrieval.model.session import OrtSession
from retrieval.model.tokenize import TextTokenizer
from retrieval.progress import NoProgress

KINDS = ("clip", "siglip-unigram", "open-clip", "open-clip-bert")


def an_encoder(summary: ExportSummary) -> Encoder:
    return Encoder(ModelBundle.load(summary.folder), device="cpu")


@pytest.mark.parametrize("kind", KINDS)
def test_a_bundle_reproduces_its_reference_and_records_it(kind, exported):
    summary = exported(kind)
    manifest = ModelBundle.load(summary.folder).manifest
    parity = manifest.parity
    assert parity == summary.parity
    assert parity.image_cosine_min >= COSINE_MIN
    assert parity.text_cosine_min >= COSINE_MIN
    assert parity.pixels_max_abs <= PIXELS_MAX_ABS
    assert parity.token_ids_equal is True
    assert (parity.images, parity.texts) == (len(default_images()), len(TEXTS))
    assert manifest.precision == "fp32"
    assert manifest.exporter["opset"] == "20"
    assert set(manifest.files) == {"image.onnx", "text.onnx", "tokenizer.json"}


@pytest.mark.parametrize("kind", KINDS)
def test_graphs_have_the_names_and_the_dynamic_batch_of_the_contract(kind, exported):
    summary = exported(kind)
    for name, source, target in (
        ("image", "pixel_values", "image_embeds"),
        ("text", "input_ids", "text_embeds"),
    ):
        graph = onnx.load(summary.folder / f"{name}.onnx").graph
        assert [node.name for node in graph.input] == [source]
        assert [node.name for node in graph.output] == [target]
        for node in (*graph.input, *graph.output):
            assert node.type.tensor_type.shape.dim[0].dim_param


@pytest.mark.parametrize("kind", KINDS)
def test_the_encoder_gives_unit_vectors_that_do_not_depend_on_the_batch(kind, exported):
    encoder = an_encoder(exported(kind))
    images, texts = default_images()[:3], list(TEXTS[:5])
    for encode, inputs in ((encoder.encode_images, images), (encoder.encode_texts, texts)):
        together = encode(inputs)
        alone = np.concatenate([encode([item]) for item in inputs])
        assert together.shape == (len(inputs), encoder.dim)
        assert together.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(together, alone, atol=2e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_short_query_runs_at_its_own_length_where_the_tower_ignores_padding(kind, exported):
    bundle = ModelBundle.load(exported(kind).folder)
    longest = bundle.manifest.tokenization
    # SigLIP reads the last position of a fixed length; open_clip's plain `CLIP` always adds all its positions.
    assert longest.padding == ("fixed" if kind in ("siglip-unigram", "open-clip") else "longest")
    fixed = msgspec.structs.replace(longest, padding="fixed")
    encoder = Encoder(bundle, device="cpu")
    short = encoder.tokenizer(["heart"])["input_ids"]
    padded = TextTokenizer(bundle.path("tokenizer.json"), fixed)(["heart"])
    assert padded["input_ids"].shape[1] == longest.context_length
    assert (short.shape[1] < longest.context_length) == (longest.padding == "longest")
    expected = encoder.text_session.run("text_embeds", padded)
    np.testing.assert_allclose(encoder.encode_texts(["heart"]), expected, atol=2e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_graphs_hold_no_paths_of_the_machine_that_made_them(kind, exported):
    summary = exported(kind)
    for name in ("image.onnx", "text.onnx"):
        content = (summary.folder / name).read_bytes()
        assert b"site-packages" not in content
        assert str(Path.cwd()).encode() not in content


def test_exporting_twice_gives_the_same_bundle_and_reports_each_stage(exported, checkpoint_folder, tmp_path):
    class Stages(NoProgress):
        titles: list[str] = []

        def stage(self, title: str, unit: str = "") -> None:
            self.titles.append(title)

    progress = Stages()
    source = checkpoint_folder("open-clip-bert")
    again = export_model(name="again", source=source, out_dir=tmp_path, progress=progress)
    assert again.bundle_id == exported("open-clip-bert").bundle_id
    assert [title.split()[0] for title in progress.titles] == ["loading", "exporting", "exporting", "measuring"]


def test_the_summary_is_json(exported):
    summary = json.loads(json.dumps(exported("clip").to_dict()))
    assert summary["parity"]["token_ids_equal"] is True
    assert summary["bundle_id"] == exported("clip").bundle_id


@pytest.mark.usefixtures("copied_graphs")
def test_failing_parity_leaves_no_bundle(checkpoint_folder, tmp_path, monkeypatch):
    def load_other_pixels(*args: object, **kwargs: object) -> Checkpoint:
        checkpoint = load_checkpoint(checkpoint_folder("clip"))
        wrong = msgspec.structs.replace(checkpoint.preprocessing, mode="stretch")
        return dataclasses.replace(checkpoint, preprocessing=wrong)

    monkeypatch.setattr(exporters.export, "load_checkpoint", load_other_pixels)
    with pytest.raises(ParityError, match="pixels differ"):
        export_model(name="wrong", source="anything", out_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_an_export_that_is_cut_off_leaves_the_old_bundle_as_it_was(error, exported, checkpoint_folder, tmp_path):
    shutil.copytree(exported("clip").folder, tmp_path / "clip")

    class Interrupting(NoProgress):
        def stage(self, title: str, unit: str = "") -> None:
            if "text tower" in title:  # the image tower is written by now
                raise error

    with pytest.raises((KeyboardInterrupt, DiskFull)) as raised:
        export_model(name="clip", source=checkpoint_folder("clip"), out_dir=tmp_path, progress=Interrupting())
    if isinstance(error, OSError):
        assert "No space left" in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["clip"]
    assert ModelBundle.load(tmp_path / "clip").bundle_id == exported("clip").bundle_id


def test_a_checkpoint_of_another_model_of_the_family_is_refused(checkpoint_folder, tmp_path):
    with pytest.raises(ExportError, match=r"is not siglip: it has .* 48 px .*, expected 768 dimensions, 224 px images"):
        export_model(
            name="siglip", source=checkpoint_folder("siglip-unigram"), out_dir=tmp_path, entry=find_entry("siglip")
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "../outside", "Upper", ".hidden", "a b"])
def test_a_name_that_cannot_be_a_folder_is_refused(name, tmp_path):
    with pytest.raises(ExportError, match="cannot name a model"):
        export_model(name=name, source=tmp_path, out_dir=tmp_path / "models")


def test_parity_is_measured_on_the_images_and_texts_that_are_given(checkpoint_folder, exported):
    checkpoint = load_checkpoint(checkpoint_folder("clip"))
    parity = measure_parity(exported("clip").folder, checkpoint, default_images(seed=7)[:2], ["one", "two", "three"])
    assert (parity.images, parity.texts) == (2, 3)
    require_parity(parity)


def test_other_weights_fail_parity(checkpoint_folder, exported):
    checkpoint = load_checkpoint(checkpoint_folder("clip"))
    generator = np.random.default_rng(0)
    other = dataclasses.replace(
        checkpoint, reference_text_embeds=lambda tokens: generator.standard_normal((len(tokens["input_ids"]), 24))
    )
    parity = measure_parity(exported("clip").folder, other, default_images()[:1], TEXTS)
    with pytest.raises(ParityError, match="text embeddings agree to cosine"):
        require_parity(parity)


def test_other_token_ids_fail_parity(checkpoint_folder, exported):
    checkpoint = load_checkpoint(checkpoint_folder("siglip-unigram"))
    reference = checkpoint.reference_tokens
    other = dataclasses.replace(checkpoint, reference_tokens=lambda texts: reference([text + " x" for text in texts]))
    parity = measure_parity(exported("siglip-unigram").folder, other, default_images()[:1], TEXTS)
    assert parity.token_ids_equal is False
    with pytest.raises(ParityError, match="token ids differ"):
        require_parity(parity)


def test_a_tower_that_cannot_be_exported_is_an_export_error(tmp_path):
    class Branching(nn.Module):
        def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
            return pixel_values if pixel_values.sum() > 0 else -pixel_values

    with pytest.raises(ExportError, match="cannot export this tower"):
        write_graph(Branching(), torch.zeros(2, 3, 4, 4), "pixel_values", "image_embeds", tmp_path / "image.onnx")


def test_weights_over_the_limit_of_a_protobuf_are_written_beside_the_graph(tmp_path, monkeypatch):
    monkeypatch.setattr(exporters.onnx_graphs, "EXTERNAL_DATA_BYTES", 100)
    path = tmp_path / "image.onnx"
    write_graph(nn.Linear(64, 64).eval(), torch.zeros(2, 64), "pixel_values", "image_embeds", path)
    assert len(list(tmp_path.iterdir())) == 2
    pixels = np.ones((3, 64), dtype=np.float32)
    assert OrtSession(path, device="cpu").run("image_embeds", {"pixel_values": pixels}).shape == (3, 64)
