"""Checkpoints that the export tests share. Each is made once, without network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

# Before the import of the hub's libraries, which read these once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

import pytest
from huggingface_hub import constants

import exporters.export
from exporters.checkpoints.checkpoint import Checkpoint
from exporters.export import ExportSummary, export_model
from retrieval.model.bundle import IMAGE_GRAPH, TEXT_GRAPH
from tests.exporters import checkpoint_folders as folders
from tests.exporters.stand_in_hub import StandInHub, serve

WRITERS: dict[str, Callable[[Path], Path]] = {
    "clip": folders.write_clip,
    "siglip-wordpiece": folders.write_siglip,
    "siglip-sentencepiece": lambda folder: folders.write_siglip(folder, tokenizer="sentencepiece"),
    "siglip-unigram": lambda folder: folders.write_siglip(folder, tokenizer="unigram"),
    "siglip-gemma": lambda folder: folders.write_siglip(folder, tokenizer="gemma"),
    "open-clip": folders.write_open_clip,
    "open-clip-bert": folders.write_open_clip_bert,
}


@pytest.fixture(scope="session")
def checkpoint_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of the tiny checkpoint of a kind. Tests share it, so do not write to it."""
    made: dict[str, Path] = {}
    root = tmp_path_factory.mktemp("checkpoints")

    def get(kind: str) -> Path:
        if kind not in made:
            made[kind] = WRITERS[kind](root / kind)
        return made[kind]

    return get


@pytest.fixture(scope="session")
def exported(
    tmp_path_factory: pytest.TempPathFactory, checkpoint_folder: Callable[[str], Path]
) -> Callable[[str], ExportSummary]:
    """The fp32 export of the tiny checkpoint of a kind. Tests share it, so do not write to it."""
    models_dir = tmp_path_factory.mktemp("models")
    made: dict[str, ExportSummary] = {}
    write_graphs = exporters.export.write_graphs

    def get(kind: str) -> ExportSummary:
        if kind not in made:
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(exporters.export, "write_graphs", write_graphs)  # also within `copied_graphs`
                made[kind] = export_model(name=kind, source=checkpoint_folder(kind), out_dir=models_dir)
        return made[kind]

    return get


@pytest.fixture
def copied_graphs(exported: Callable[[str], ExportSummary], monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports of the shared checkpoints copy the graphs of `exported`; to translate the towers again takes 5 s."""

    def copy_graphs(checkpoint: Checkpoint, folder: Path, _progress: object) -> None:
        for name in (IMAGE_GRAPH, TEXT_GRAPH):
            shutil.copy(exported(Path(checkpoint.source).name).folder / name, folder / name)

    monkeypatch.setattr(exporters.export, "write_graphs", copy_graphs)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInHub]:
    """An empty hub, to which the client of this process talks, with an empty cache and no token."""
    with serve(StandInHub()) as standing:
        # What the variables HF_ENDPOINT and HF_HOME set; the client reads them once, at its import.
        monkeypatch.setattr(constants, "ENDPOINT", standing.url)
        template = f"{standing.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield standing
