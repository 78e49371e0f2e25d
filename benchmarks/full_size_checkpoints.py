"""Writes checkpoints of the published architectures at full size with random weights, which export at the same cost.

    python -m benchmarks.full_size_checkpoints siglip --small-files ../shared/hf --out /tmp/siglip

The small files (config, image processor, tokenizer) are the published ones in `--small-files`, one folder per repository,
named `owner__name`. Those of MedSigLIP are assembled from its model card; its tokenizer is that of SigLIP.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

KEYS = ("biomedclip", "pubmed_clip", "siglip", "medsiglip")
_FOLDERS = {
    "biomedclip": "microsoft__BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
    "pubmed_clip": "flaviagiammarino__pubmed-clip-vit-base-patch32",
    "siglip": "google__siglip-base-patch16-224",
    "medsiglip": "google__medsiglip-448",
}
_TOKENIZER_OF = {"medsiglip": "siglip"}
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def main() -> None:
    """Write one checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("key", choices=KEYS)
    parser.add_argument("--small-files", type=Path, default=Path("../shared/hf"), help="(default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="folder to write, new or empty")
    arguments = parser.parse_args()
    write_full_size_checkpoint(arguments.key, arguments.small_files, arguments.out)


def write_full_size_checkpoint(key: str, small_files: Path, folder: Path, *, seed: int = 0) -> Path:
    """Write the checkpoint of `key` into `folder`; returns `folder`. `small_files` has the folders of small files."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    _copy_files(small_files / _FOLDERS[key], folder)
    if key in _TOKENIZER_OF:
        tokenizer = small_files / _FOLDERS[_TOKENIZER_OF[key]]
        for name in _TOKENIZER_FILES:
            shutil.copyfile(tokenizer / name, folder / name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        (_write_open_clip if key == "biomedclip" else _write_transformers)(folder)
    return folder


def _copy_files(source: Path, folder: Path) -> None:
    for path in source.iterdir():
        if "canonical" not in path.name:
            shutil.copyfile(path, folder / path.name.replace(".assembled", ""))


def _write_transformers(folder: Path) -> None:
    from transformers import AutoConfig, CLIPModel, SiglipModel

    published = (folder / "config.json").read_bytes()
    config = AutoConfig.from_pretrained(folder)
    model: Any = (CLIPModel if config.model_type == "clip" else SiglipModel)(config)
    model.save_pretrained(folder)
    (folder / "config.json").write_bytes(published)  # saving has completed it


def _write_open_clip(folder: Path) -> None:
    import open_clip
    from safetensors.torch import save_file

    path = folder / "open_clip_config.json"
    published = path.read_text(encoding="utf-8")
    config = json.loads(published)
    config["model_cfg"]["text_cfg"]["hf_model_name"] = str(folder)  # or open_clip would ask the hub
    path.write_text(json.dumps(config), encoding="utf-8")
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False, pretrained_text=False)
    save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    path.write_text(published, encoding="utf-8")


if __name__ == "__main__":
    main()
