"""Models of the registry export from a hub with repositories of their published shape, built small."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import exporters.export
from exporters.export import ExportSummary, export_model
from exporters.registry import REGISTRY, find_entry
from retrieval.errors import ExportError
from retrieval.model.bundle import ModelBundle
from tests.exporters.stand_in_hub import Repository, StandInHub

SIGLIP = "siglip-sentencepiece"
KINDS = {
    "biomedclip": "open-clip-bert",
    "pubmed_clip": "clip",
    "clip": "clip",
    "siglip": SIGLIP,
    "medsiglip": SIGLIP,
    "medsiglip-448": SIGLIP,
    "siglip2": "siglip-gemma",
    "xraysiglip": SIGLIP,
}
TOKENIZER = ("spiece.model", "tokenizer_config.json")
PROCESSOR = ("preprocessor_config.json",)
TEXT_MODEL = "nobody/no-such-text-model"


@pytest.fixture
def published(
    hub: StandInHub, checkpoint_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], StandInHub]:
    """Publishes the repository of a key, and those that it needs beside it."""

    def publish(key: str) -> StandInHub:
        entry, folder = find_entry(key), checkpoint_folder(KINDS[key])
        if key == "biomedclip":  # one .bin file; the text tower's config is in a repository of its own
            files = _as_bin(folder, "open_clip_model.safetensors", "open_clip_pytorch_model.bin")
            del files["config.json"]
            text = {name: (folder / name).read_bytes() for name in ("config.json", "tokenizer.json")}
            hub.repositories[TEXT_MODEL] = Repository(text | {"pytorch_model.bin": b"x" * 20_000})
        elif key == "pubmed_clip":  # one .bin file, and a processor of the old form
            files = _as_bin(folder, "model.safetensors", "pytorch_model.bin")
            processor = json.loads(files["preprocessor_config.json"])
            old = processor | {"size": 48, "crop_size": 48, "feature_extractor_type": "CLIPFeatureExtractor"}
            old.pop("image_processor_type", None)
            files["preprocessor_config.json"] = json.dumps(old).encode()
        else:
            files = {path.name: path.read_bytes() for path in folder.iterdir()}
        if key == "clip":  # every format at once
            files |= _as_bin(folder, "model.safetensors", "pytorch_model.bin")
            files |= {"tf_model.h5": b"h" * 20_000, "flax_model.msgpack": b"f" * 20_000}
        if entry.lender:
            files = {name: data for name, data in files.items() if name not in (*TOKENIZER, *PROCESSOR)}
            lent = {name: (folder / name).read_bytes() for name in (*TOKENIZER, *PROCESSOR)}
            hub.repositories[entry.lender.source] = Repository(lent, pinned=entry.lender.revision)
        hub.repositories[entry.source] = Repository({"README.md": b"# Card\n"} | files, entry.gated)
        if entry.gated:
            monkeypatch.setenv("HF_TOKEN", "hf_accepted")
        return hub

    return publish


@pytest.fixture
def export_key(
    exported: Callable[[str], ExportSummary], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], ExportSummary]:
    """Exports a key with the graphs of the same weights; to translate the towers again takes seconds."""

    def export(key: str) -> ExportSummary:
        graphs = exported(KINDS[key]).folder

        def copy_graphs(_checkpoint: object, folder: Path, _progress: object) -> None:
            for name in ("image.onnx", "text.onnx"):
                shutil.copy(graphs / name, folder / name)

        monkeypatch.setattr(exporters.export, "write_graphs", copy_graphs)
        entry = find_entry(key)
        return export_model(name=key, source=entry.source, out_dir=tmp_path / "models", entry=entry)

    return export


@pytest.mark.parametrize("key", REGISTRY)
def test_a_model_exports_from_a_repository_of_its_shape(key, published, export_key):
    hub = published(key)
    manifest = ModelBundle.load(export_key(key).folder).manifest
    entry = REGISTRY[key]
    assert (manifest.source, manifest.revision) == (entry.source, hub.repositories[entry.source].commit)
    assert manifest.parity.token_ids_equal is True
    lenders = {
        "biomedclip": TEXT_MODEL,
        "medsiglip": REGISTRY["siglip"].source,
        "medsiglip-448": REGISTRY["siglip"].source,
    }
    assert [each.source for each in manifest.borrowed] == ([lenders[key]] if key in lenders else [])
    for record in manifest.borrowed:
        assert record.revision == hub.repositories[record.source].commit


def test_a_lender_that_lacks_the_files_leaves_no_bundle(published, export_key, tmp_path):
    hub = published("medsiglip")
    lender = REGISTRY["medsiglip"].lender
    hub.repositories[lender.source] = Repository({"README.md": b"# Card\n"}, pinned=lender.revision)
    with pytest.raises(ExportError, match="has no image processor; copy preprocessor_config"):
        export_key("medsiglip")
    assert not (tmp_path / "models").exists()


def _as_bin(folder: Path, weights: str, name: str) -> dict[str, bytes]:
    """The files of `folder`, with its weights in torch's own format as the file `name`."""
    buffer = io.BytesIO()
    torch.save(load_file(folder / weights), buffer)
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != weights}
    return files | {name: buffer.getvalue()}
