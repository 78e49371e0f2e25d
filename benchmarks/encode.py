"""Measures the encoder's images per second relative to the bare ONNX session, with and without preprocessing.

    python -m benchmarks.encode --models phantom-siglip phantom-clip

Unless `--bare-sizes none` is given, a ViT-B/32 with random weights (CLIP's vision tower) is exported and measured, too:
speed does not depend on weights. Session and encoder alternate, so that noise of the machine affects both.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image

from archives.phantoms import write_phantoms
from benchmarks.indiana import FOLDER
from benchmarks.result_file import write_result
from retrieval.imaging.decoder_pool import read_image
from retrieval.model.bundle import IMAGE_GRAPH, ModelBundle, find_bundle
from retrieval.model.encoder import Encoder
from retrieval.settings import RetrievalSettings


def main() -> None:
    """Measure each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=["phantom-siglip", "phantom-clip"], help="installed bundles")
    parser.add_argument("--bare-sizes", choices=["vit-b-32", "none"], default="vit-b-32")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        images = read_images(Path(folder), arguments.batch)
        bundles = [find_bundle(name, RetrievalSettings().models_dir) for name in arguments.models]
        if arguments.bare_sizes != "none":
            bundles.append(export_vit_b_32(Path(folder)))
        for bundle in bundles:
            figures[bundle.name] = measure(Encoder(bundle, device=arguments.device), images, arguments.rounds)
    write_result("encode", {"batch": arguments.batch, "device": arguments.device, "models": figures})


def read_images(folder: Path, count: int) -> list[Image.Image]:
    """Decoded images of the Indiana archive; phantoms without it."""
    images = FOLDER / "images"
    if not images.is_dir():
        images = write_phantoms(folder / "phantoms", count, seed=3).images_dir
    return [read_image(path)[0] for path in sorted(images.iterdir())[:count]]


def measure(encoder: Encoder, images: list[Image.Image], rounds: int) -> dict[str, Any]:
    """Images per second of bare session, encoder on pixels and encoder on images, and medians of their ratios."""
    pixel_values = encoder.preprocess.batch(images)
    provider = "CUDAExecutionProvider" if encoder.image_session.device == "cuda" else "CPUExecutionProvider"
    bare = onnxruntime.InferenceSession(encoder.bundle.path(IMAGE_GRAPH), providers=[provider])
    runs: dict[str, Callable[[], Any]] = {
        "bare_session": lambda: bare.run(None, {"pixel_values": pixel_values}),
        "encoder": lambda: encoder.encode_pixels(pixel_values),
        "encoder_with_preprocessing": lambda: encoder.encode_images(images),
    }
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + 1):  # the first one warms up
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if turn:
                rates[name].append(len(images) / (time.perf_counter() - start))
    medians = {f"{name}_images_per_s": round(float(np.median(values)), 1) for name, values in rates.items()}
    ratios = {
        f"{name}_over_bare": round(float(np.median(np.array(values) / np.array(rates["bare_session"]))), 3)
        for name, values in rates.items()
        if name != "bare_session"
    }
    return medians | ratios


def export_vit_b_32(folder: Path) -> ModelBundle:
    """A bundle of CLIP ViT-B/32's architecture with random weights; needs the extra `export`."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    from exporters.export import export_model
    from exporters.finetune.word_pieces import train_tokenizer

    checkpoint = folder / "vit-b-32"
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["heart lungs clear"] * 9, vocabulary_size=200, context_length=77)
    text = {"vocab_size": len(tokenizer), "num_hidden_layers": 1, "eos_token_id": tokenizer.sep_token_id}
    CLIPModel(CLIPConfig(text_config=text)).save_pretrained(checkpoint)  # the vision tower's defaults are ViT-B/32
    CLIPImageProcessor().save_pretrained(checkpoint)
    tokenizer.save_pretrained(checkpoint)
    export_model(name="vit-b-32", source=checkpoint, out_dir=folder / "models", licence="none")
    return ModelBundle.load(folder / "models" / "vit-b-32")


if __name__ == "__main__":
    main()
