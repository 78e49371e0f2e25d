"""Exports of the published architectures at full width and depth, with random weights and the published small files."""

from __future__ import annotations

from pathlib import Path

import pytest

import exporters.parity
from benchmarks.full_size_checkpoints import write_full_size_checkpoint
from exporters.checkpoints.load import load_checkpoint
from exporters.export import export_model
from exporters.parity import HEAVY_IMAGES, default_images, measure_parity
from exporters.registry import REGISTRY

HF_DIR = Path(__file__).parents[3] / "shared" / "hf"


@pytest.mark.real  # its files are not in this repository, and it takes minutes
@pytest.mark.parametrize("key", ["biomedclip", "pubmed_clip", "siglip"])
@pytest.mark.skipif(not HF_DIR.is_dir(), reason=f"no published configuration files at {HF_DIR}")
def test_a_published_architecture_exports_as_the_registry_describes_it(key, tmp_path):
    # medsiglip takes minutes and 8 GB: `make bench-export` has it.
    source = write_full_size_checkpoint(key, HF_DIR, tmp_path / "checkpoint")
    entry = REGISTRY[key]
    summary = export_model(name=key, source=source, out_dir=tmp_path / "models", entry=entry)
    assert (summary.dim, summary.image_size, summary.context_length) == (
        entry.dim,
        entry.image_size,
        entry.context_length,
    )
    assert summary.parity.image_cosine_min > 0.99999
    assert summary.parity.text_cosine_min > 0.99999
    assert summary.peak_memory_bytes is None or summary.peak_memory_bytes > summary.size_bytes


@pytest.mark.usefixtures("copied_graphs")
def test_a_heavy_tower_embeds_few_images_and_says_so(checkpoint_folder, exported, tmp_path, monkeypatch):
    exported("clip")  # which others share, is made before the limit changes
    monkeypatch.setattr(exporters.parity, "HEAVY_PARAMETERS", 1)
    checkpoint = load_checkpoint(checkpoint_folder("clip"))
    summary = export_model(name="clip", source=checkpoint_folder("clip"), out_dir=tmp_path)
    assert summary.parity.images == HEAVY_IMAGES < len(default_images())
    assert measure_parity(summary.folder, checkpoint, default_images()[:2], ["one", "two"]).images == 2
