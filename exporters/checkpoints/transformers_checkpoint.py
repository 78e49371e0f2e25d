"""CLIP and SigLIP checkpoints in the layout of transformers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel, SiglipModel
from transformers.utils import logging

from exporters.checkpoints.borrowing import borrow, merge_borrowed, require_vocabulary
from exporters.checkpoints.checkpoint import Checkpoint, to_triple
from exporters.checkpoints.location import CheckpointFolder, Family
from exporters.checkpoints.siglip_tokenizer import canonicalize, load_siglip_tokenizer
from exporters.checkpoints.towers import TransformersImageTower, TransformersTextTower, scalar
from retrieval.errors import ExportError
from retrieval.imaging.model_input import Preprocessing
from retrieval.model.bundle import BorrowedFiles, Tokenization

Normalization = Literal["none", "lowercase", "siglip"]

_INTERPOLATIONS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # PIL.Image.Resampling
_TOKENIZER_FILES = ("tokenizer.json", "spiece.model", "vocab.json", "vocab.txt")


def load_transformers(location: CheckpointFolder) -> Checkpoint:
    """A `CLIPModel` or `SiglipModel` with its image processor and tokenizer.

    Raises:
        ExportError: a file is missing, or config, weights and processor do not fit together.
    """
    family: Family = "clip" if location.read_json("config.json").get("model_type") == "clip" else "siglip"
    location.require_weights()
    model = _load_model(location, family)
    image_size = int(model.config.vision_config.image_size)
    processor, lent_processor = _find_processor(location, image_size)
    context_length = int(model.config.text_config.max_position_embeddings)
    tokenizer, lent_tokenizer = _find_tokenizer(location, family, context_length)
    rows = int(model.config.text_config.vocab_size)
    require_vocabulary(tokenizer.highest_id, rows, location, lent_tokenizer)
    # SigLIP gets its padding without a mask.
    tokenizer.gives_mask = family == "clip"
    preprocessing = preprocessing_of(processor)
    if preprocessing.size != image_size:
        raise ExportError(
            f"{location.folder}: the image processor gives {preprocessing.size} pixels, the model takes "
            f"{image_size}; the two files belong to different models"
        )
    dim = model.config.projection_dim if family == "clip" else model.config.vision_config.hidden_size

    def reference_pixels(images: Sequence[Image.Image]) -> NDArray[np.float32]:
        pixels = processor(images=[image.convert("RGB") for image in images], return_tensors="np")["pixel_values"]
        return np.asarray(pixels, dtype=np.float32)

    def reference_image_embeds(pixel_values: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return _features(model.get_image_features(pixel_values=torch.from_numpy(pixel_values)))

    def reference_text_embeds(tokens: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return _features(model.get_text_features(**{name: torch.from_numpy(ids) for name, ids in tokens.items()}))

    return Checkpoint(
        family=family,
        source=location.source,
        revision=location.revision,
        model=model,
        image_tower=TransformersImageTower(model).eval(),
        text_tower=TransformersTextTower(model).eval(),
        dim=int(dim),
        preprocessing=preprocessing,
        tokenization=tokenizer.tokenization,
        tokenizer_json=tokenizer.json,
        logit_scale=math.exp(scalar(model, "logit_scale") or 0.0),
        logit_bias=scalar(model, "logit_bias"),
        reference_pixels=reference_pixels,
        reference_tokens=tokenizer.reference,
        reference_image_embeds=reference_image_embeds,
        reference_text_embeds=reference_text_embeds,
        borrowed=merge_borrowed(lent_tokenizer, lent_processor),
    )


def _features(output: Any) -> NDArray[np.float32]:
    # transformers 5 returns a record here, 4 a tensor.
    features: NDArray[np.float32] = getattr(output, "pooler_output", output).numpy()
    return features


class ReferenceTokenizer:
    """The reference tokenizer of a checkpoint, and the settings and file with which ours gives the same ids.

    The reference applies `prepare` to a text before it tokenizes it. `normalization` is our name for that step.
    """

    def __init__(
        self,
        tokenizer: Any,
        context_length: int,
        *,
        tokenizer_json: str | None = None,
        normalization: Normalization = "none",
        prepare: Callable[[str], str] = str,
    ) -> None:
        if tokenizer.pad_token_id is None:
            raise ExportError(
                f"the tokenizer {type(tokenizer).__name__} has no padding token; name one in tokenizer_config.json"
            )
        self.gives_mask = False
        self._tokenizer = tokenizer
        self._prepare = prepare
        self.json: str = tokenizer_json or tokenizer.backend_tokenizer.to_str()
        self.tokenization = Tokenization(
            context_length=context_length,
            pad_id=tokenizer.pad_token_id,
            normalization=normalization,
        )

    @property
    def highest_id(self) -> int:
        """The highest token id of the vocabulary."""
        return int(max(self._tokenizer.get_vocab().values()))

    def reference(self, texts: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        """`input_ids` int64 [B, L], as in the checkpoint's training; CLIP also gets an `attention_mask`."""
        tokens = self._tokenizer(
            [self._prepare(text) for text in texts],
            padding="max_length",
            truncation=True,
            max_length=self.tokenization.context_length,
            return_tensors="np",
        )
        names = ("input_ids", "attention_mask") if self.gives_mask else ("input_ids",)
        return {name: np.asarray(tokens[name], dtype=np.int64) for name in names}


def preprocessing_of(processor: Any) -> Preprocessing:
    """The manifest's description of a transformers image processor.

    Raises:
        ExportError: the processor has a step that the manifest cannot describe.
    """
    config = processor.to_dict()
    if not (config.get("do_resize") and config.get("do_rescale", True) and config.get("do_normalize")):
        raise ExportError("the image processor must resize, rescale and normalize; other processors are not supported")
    if abs(config.get("rescale_factor", 1 / 255) - 1 / 255) > 1e-8:
        raise ExportError(f"the image processor rescales by {config['rescale_factor']}; only 1/255 is supported")
    interpolation: Any = _INTERPOLATIONS.get(int(config["resample"]))
    if interpolation is None:
        known = ", ".join(f"{number} ({name})" for number, name in _INTERPOLATIONS.items())
        raise ExportError(
            f"the image processor uses the unknown resampling filter {config['resample']}; known are {known}; "
            "correct `resample` in preprocessor_config.json"
        )
    mode, size = _resize_of(config)
    return Preprocessing(
        mode=mode,
        size=size,
        interpolation=interpolation,
        mean=to_triple(config["image_mean"]),
        std=to_triple(config["image_std"]),
    )


def _resize_of(config: dict[str, Any]) -> tuple[Any, int]:
    size = {name: value for name, value in dict(config["size"]).items() if value is not None}
    crop = config.get("crop_size") if config.get("do_center_crop") else None
    crop_side = dict(crop).get("height") if crop else None
    if crop and crop_side != dict(crop).get("width"):
        raise ExportError(f"unknown resize mode: the image processor crops to {dict(crop)}, which is not square")
    if set(size) == {"height", "width"} and size["height"] == size["width"] and crop_side in (None, size["height"]):
        return "stretch", int(size["height"])
    if set(size) == {"shortest_edge"} and crop_side == size["shortest_edge"]:
        return "shortest_side_crop", int(size["shortest_edge"])
    raise ExportError(
        f"unknown resize mode: the image processor has size {size} and crop {dict(crop) if crop else None}; known are "
        "a square size, or a shortest edge with a centre crop of the same size"
    )


def _load_model(location: CheckpointFolder, family: Family) -> Any:
    # The loader draws a progress bar and prints a table of all weights that it renames.
    reporter: Any = logging
    reporter.set_verbosity_error()
    reporter.disable_progress_bar()
    model_class: Any = CLIPModel if family == "clip" else SiglipModel
    try:
        # Eager attention gives plain MatMul and Softmax, which onnxruntime's optimizer can fuse.
        model, report = model_class.from_pretrained(
            location.folder,
            dtype=torch.float32,
            attn_implementation="eager",
            output_loading_info=True,
        )
    except Exception as error:  # damaged weights and odd configs raise many kinds
        raise ExportError(f"{location.folder} cannot be loaded as {model_class.__name__}: {error}") from error
    wrong = sorted(report["missing_keys"]) + [str(key) for key in report["mismatched_keys"]]
    if wrong:
        raise ExportError(
            f"the weights in {location.folder} do not match its config.json: {len(wrong)} are missing or of another "
            f"shape, such as {wrong[0]}"
        )
    if family == "siglip" and not getattr(model.vision_model, "use_head", True):
        raise ExportError(f"{location.folder}: the vision tower has no pooling head, so it gives no embedding")
    return model.eval()


def _find_processor(location: CheckpointFolder, image_size: int) -> tuple[Any, BorrowedFiles | None]:
    """The image processor of the checkpoint, or the lender's with the checkpoint's own `image_size`."""
    if location.has("preprocessor_config.json") or location.lender is None:
        return _load_processor(location), None
    lent = borrow(location, location.lender.processor, "image processor")
    if preprocessing_of(_load_processor(lent.location)).mode != "stretch":
        raise ExportError(
            f"{location.folder} has no image processor, and that of {lent.location.source} crops, so the image size of "
            "the model cannot replace its own; copy the right preprocessor_config.json into the folder"
        )
    return _load_processor(lent.location, size={"height": image_size, "width": image_size}), lent.record


def _load_processor(location: CheckpointFolder, **changes: Any) -> Any:
    # The reference is the PIL processor, not the torchvision one, the default of transformers 5: these models were
    # trained and published with PIL. Torchvision rounds differently: by up to 2 grey levels on smooth images and about
    # 20 on white noise (measured in tests/parity).
    if not location.has("preprocessor_config.json"):
        raise ExportError(f"{location.folder} has no preprocessor_config.json; copy it from the model's page")
    try:
        loader: Any = AutoImageProcessor
        return loader.from_pretrained(location.folder, backend="pil", **changes)
    except Exception as error:
        raise ExportError(f"{location.folder / 'preprocessor_config.json'} cannot be used: {error}") from error


def _find_tokenizer(
    location: CheckpointFolder, family: Family, context_length: int
) -> tuple[ReferenceTokenizer, BorrowedFiles | None]:
    if location.has(*_TOKENIZER_FILES) or location.lender is None:
        return _load_tokenizer(location, family, context_length), None
    lent = borrow(location, location.lender.tokenizer, "tokenizer")
    return _load_tokenizer(lent.location, family, context_length), lent.record


def _load_tokenizer(location: CheckpointFolder, family: Family, context_length: int) -> ReferenceTokenizer:
    if not location.has(*_TOKENIZER_FILES):
        raise ExportError(
            f"{location.folder} has no tokenizer: expected one of {', '.join(_TOKENIZER_FILES)}; "
            "copy the tokenizer files from the model's page"
        )
    has_config = location.has("tokenizer_config.json")
    named = location.read_json("tokenizer_config.json").get("tokenizer_class") if has_config else None
    if family == "siglip" and named in (None, "SiglipTokenizer", "SiglipTokenizerFast"):
        tokenizer, content = load_siglip_tokenizer(location)
        # The slow class canonicalizes its text; the fast one does not. To canonicalize twice changes nothing.
        return ReferenceTokenizer(
            tokenizer,
            context_length,
            tokenizer_json=content,
            normalization="siglip",
            prepare=canonicalize,
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(location.folder)
    except Exception as error:
        raise ExportError(f"the tokenizer in {location.folder} cannot be loaded: {error}") from error
    if family == "siglip" and str(named).startswith("Gemma"):
        # SigLIP 2 was trained on lower-case text. Its published tokenizer class does not lower-case; transformers'
        # later Siglip2Tokenizer does.
        return ReferenceTokenizer(tokenizer, context_length, normalization="lowercase", prepare=str.lower)
    return ReferenceTokenizer(tokenizer, context_length)
