"""Checkpoints that the export tests share. Each is made once, without network."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

# Before the import of the hub's libraries, which read these once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

import pytest

from tests.exporters import checkpoint_folders as folders

WRITERS: dict[str, Callable[[Path], Path]] = {
    "clip": folders.write_clip,
    "siglip-wordpiece": folders.write_siglip,
    "siglip-sentencepiece": lambda folder: folders.write_siglip(folder, tokenizer="sentencepiece"),
    "siglip-unigram": lambda folder: folders.write_siglip(folder, tokenizer="unigram"),
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
