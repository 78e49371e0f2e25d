"""Measures whether a bundle computes the same as its reference, from raw image and raw string to embedding."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from exporters.checkpoints.checkpoint import Checkpoint
from exporters.cosines import row_cosines
from retrieval.errors import ParityError
from retrieval.imaging.decode import decode_image
from retrieval.imaging.preprocess import ImagePreprocessor
from retrieval.model.bundle import IMAGE_GRAPH, TEXT_GRAPH, TOKENIZER, Parity
from retrieval.model.session import OrtSession
from retrieval.model.tokenize import TextTokenizer

COSINE_MIN = 0.99999
PIXELS_MAX_ABS = 1e-5
"""Another order of float32 operations changes pixels by up to 1e-6; one grey level is 1e-2."""
NORM_TOLERANCE = 1e-4
HEAVY_PARAMETERS, HEAVY_IMAGES = 300_000_000, 4

TEXTS = (
    "Heart size is normal. The lungs are clear.",
    "No pneumothorax, pleural effusion, or focal air-space disease.",
    "cardiomegaly with pleural effusion",
    "",
    "XXXX-year-old MALE with chest pain; s/p CABG (2009). Don't see prior films!",
    "  Mild\tpulmonary\n\nvascular   congestion .  ",
    "5&gt;3 mm nodule in the right upper lobe — “stable” ½ µm, naïve ﬁbrosis, 37 °C, 肺炎 🫁",
    "Stable enlargement of the cardiac silhouette with tortuous aorta and degenerative changes of the spine. " * 30,
)


def default_images(seed: int = 0) -> list[Image.Image]:
    """Random images of unusual shapes and modes, as decoded: grey, colour, 16 bit, transparent, wide, tall, tiny."""
    generator = np.random.default_rng(seed)
    shapes = (
        ("L", 301, 257),
        ("RGB", 640, 480),
        ("I;16", 512, 421),
        ("RGBA", 333, 335),
        ("L", 1500, 97),
        ("L", 61, 900),
        ("L", 9, 7),
        ("L", 2048, 2500),
    )
    return [decode_image(_png(mode, width, height, generator)) for mode, width, height in shapes]


def measure_parity(folder: Path, checkpoint: Checkpoint, images: Sequence[Image.Image], texts: Sequence[str]) -> Parity:
    """The comparison of the graphs in `folder` with the torch model, each with its own preprocessing and tokenizer.

    Pixels are compared on all images. A tower of more than `HEAVY_PARAMETERS` takes seconds per image and embeds only
    the first `HEAVY_IMAGES`; `Parity.images` is the number of embedded images. Every graph runs the whole batch and the
    first input alone. This detects a batch axis that is not dynamic, and a tower whose output depends on the batch.

    Raises:
        ParityError: a graph cannot run, or its embeddings do not have unit norm.
    """
    pixels = ImagePreprocessor(checkpoint.preprocessing).batch(images)
    reference_pixels = checkpoint.reference_pixels(images)
    if pixels.shape != reference_pixels.shape:
        raise ParityError(f"our pixels have shape {pixels.shape}, the reference's {reference_pixels.shape}")
    embedded = HEAVY_IMAGES if _parameters(checkpoint.image_tower) > HEAVY_PARAMETERS else len(images)
    ours = _run(folder / IMAGE_GRAPH, "image_embeds", {"pixel_values": pixels[:embedded]})
    image_cosines = _cosines(ours, checkpoint.reference_image_embeds(reference_pixels[:embedded]))

    inputs = TextTokenizer(folder / TOKENIZER, checkpoint.tokenization)(texts)
    reference_tokens = checkpoint.reference_tokens(texts)
    ours = _run(folder / TEXT_GRAPH, "text_embeds", inputs)
    text_cosines = _cosines(ours, checkpoint.reference_text_embeds(reference_tokens))

    return Parity(
        images=len(image_cosines) - 1,
        texts=len(texts),
        image_cosine_mean=float(image_cosines.mean()),
        image_cosine_min=float(image_cosines.min()),
        text_cosine_mean=float(text_cosines.mean()),
        text_cosine_min=float(text_cosines.min()),
        pixels_max_abs=float(np.abs(pixels - reference_pixels).max()),
        token_ids_equal=_equal_up_to_padding(inputs["input_ids"], reference_tokens["input_ids"], checkpoint),
    )


def require_parity(parity: Parity) -> None:
    """Refuse a float32 bundle that differs from its reference.

    Raises:
        ParityError: names each figure that is out of bounds.
    """
    faults = []
    if parity.pixels_max_abs > PIXELS_MAX_ABS:
        faults.append(f"pixels differ by {parity.pixels_max_abs:.2g} (at most {PIXELS_MAX_ABS:.0e})")
    if parity.token_ids_equal is False:
        faults.append("token ids differ from the reference tokenizer's")
    if not parity.image_cosine_min >= COSINE_MIN:
        faults.append(f"image embeddings agree to cosine {parity.image_cosine_min:.7f} (at least {COSINE_MIN})")
    if parity.text_cosine_min is not None and not parity.text_cosine_min >= COSINE_MIN:
        faults.append(f"text embeddings agree to cosine {parity.text_cosine_min:.7f} (at least {COSINE_MIN})")
    if faults:
        raise ParityError(
            f"the export does not reproduce the reference model: {'; '.join(faults)}; no bundle was written"
        )


def _run(
    graph: Path, output: str, inputs: dict[str, NDArray[np.float32]] | dict[str, NDArray[np.int64]]
) -> NDArray[np.float32]:
    """The embedding of the first input alone, then those of the whole batch."""
    # On the CPU, as the reference: TF32 convolutions of a GPU are less exact.
    session = OrtSession(graph, device="cpu")
    try:
        alone = session.run(output, {name: values[:1] for name, values in inputs.items()})
        batch = session.run(output, dict(inputs))
    except Exception as error:  # onnxruntime's exceptions share no public base class
        raise ParityError(f"{graph.name} does not run on batches of any size: {error}") from error
    embeds = np.concatenate([alone, batch])
    norms = np.linalg.norm(embeds, axis=1)
    if not np.all(np.abs(norms - 1) <= NORM_TOLERANCE):
        raise ParityError(f"{graph.name} gives embeddings of norm {norms.min():.4f} to {norms.max():.4f} instead of 1")
    return embeds


def _cosines(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> NDArray[np.float64]:
    if ours.shape[1] != theirs.shape[1]:
        raise ParityError(f"embeddings have {ours.shape[1]} dimensions, the reference's {theirs.shape[1]}")
    return row_cosines(np.concatenate([theirs[:1], theirs]), ours)


def _parameters(tower: nn.Module) -> int:
    return sum(parameter.numel() for parameter in tower.parameters())


def _equal_up_to_padding(ours: NDArray[np.int64], theirs: NDArray[np.int64], checkpoint: Checkpoint) -> bool:
    # With padding `longest` our batch ends with its longest text; the rest of the reference must be padding.
    length = ours.shape[1]
    rest = theirs[:, length:]
    return bool(np.array_equal(ours, theirs[:, :length]) and (rest == checkpoint.tokenization.pad_id).all())


def _png(mode: str, width: int, height: int, generator: np.random.Generator) -> bytes:
    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    field = 0.5 + 0.3 * np.sin(7 * columns + 2 * rows) * np.cos(5 * rows) + 0.2 * generator.random((height, width))
    grey = field / field.max()
    if mode == "I;16":
        image = Image.fromarray((grey * 65535).astype(np.uint16))
    else:
        channels = [(grey ** (1 + 0.4 * index) * 255).astype(np.uint8) for index in range(len(mode))]
        image = Image.fromarray(channels[0] if mode == "L" else np.dstack(channels))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()
