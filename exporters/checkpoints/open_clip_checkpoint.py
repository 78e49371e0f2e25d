"""Checkpoints in the layout of open_clip: `open_clip_config.json` beside one file of weights."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from open_clip.model import get_model_preprocess_cfg
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from exporters.checkpoints.borrowing import merge_borrowed, require_vocabulary
from exporters.checkpoints.checkpoint import Checkpoint, to_triple
from exporters.checkpoints.location import OPEN_CLIP_CONFIG, CheckpointFolder, fetch_files
from exporters.checkpoints.simple_tokenizer import tokenizer_json_of
from exporters.checkpoints.towers import OpenClipImageTower, OpenClipTextTower, scalar
from exporters.log_levels import only_errors
from retrieval.errors import ExportError
from retrieval.imaging.model_input import Preprocessing
from retrieval.model.bundle import BorrowedFiles, Tokenization

_MODES = {
    "shortest": "shortest_side_crop",
    "squash": "stretch",
    "longest": "longest_side_pad",
}
_NORMALIZATIONS = {
    "whitespace": "open_clip",
    "lower": "open_clip_lower",
    "canonicalize": "open_clip_canonicalize",
}
_TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model")


def load_open_clip(location: CheckpointFolder) -> Checkpoint:
    """An open_clip model with its image transform and tokenizer.

    Raises:
        ExportError: a file is missing, or config and weights do not fit together.
    """
    config = location.read_json(OPEN_CLIP_CONFIG)
    if "model_cfg" not in config:
        raise ExportError(f"{location.folder / OPEN_CLIP_CONFIG} has no model_cfg")
    location.require_weights()
    preprocessing_mode(config)
    with _self_contained_copy(location, config) as (staged, borrowed), only_errors():
        try:
            model = open_clip.create_model(f"local-dir:{staged}", precision="fp32", device="cpu")
        except Exception as error:  # timm, transformers and torch raise many kinds
            raise ExportError(f"{location.folder} cannot be loaded as an open_clip model: {error}") from error
        try:
            tokenizer = open_clip.get_tokenizer(f"local-dir:{staged}")
        except Exception as error:
            raise ExportError(f"the tokenizer of {location.folder} cannot be loaded: {error}") from error
    model = model.eval()
    _require_tokens(model, tokenizer, location)
    settings = PreprocessCfg(**get_model_preprocess_cfg(model))
    transform = image_transform_v2(settings, is_train=False)
    tokenization, tokenizer_json = _tokenization(tokenizer, config["model_cfg"].get("text_cfg", {}))

    def reference_pixels(images: Sequence[Image.Image]) -> NDArray[np.float32]:
        return np.stack([np.asarray(transform(image), dtype=np.float32) for image in images])

    def reference_tokens(texts: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        return {"input_ids": np.asarray(tokenizer(list(texts)), dtype=np.int64)}

    def reference_image_embeds(pixel_values: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(model.encode_image(torch.from_numpy(pixel_values)))

    def reference_text_embeds(tokens: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(model.encode_text(torch.from_numpy(tokens["input_ids"])))

    return Checkpoint(
        family="open_clip",
        source=location.source,
        revision=location.revision,
        model=model,
        image_tower=OpenClipImageTower(model).eval(),
        text_tower=OpenClipTextTower(model).eval(),
        dim=int(config["model_cfg"]["embed_dim"]),
        preprocessing=_preprocessing(settings),
        tokenization=tokenization,
        tokenizer_json=tokenizer_json,
        logit_scale=math.exp(scalar(model, "logit_scale") or 0.0),
        logit_bias=scalar(model, "logit_bias"),
        reference_pixels=reference_pixels,
        reference_tokens=reference_tokens,
        reference_image_embeds=reference_image_embeds,
        reference_text_embeds=reference_text_embeds,
        borrowed=merge_borrowed(*borrowed),
    )


def preprocessing_mode(config: dict[str, Any]) -> Any:
    """Our name for the resize mode in an `open_clip_config.json`; `shortest` is open_clip's default.

    Raises:
        ExportError: open_clip has no such mode.
    """
    named = (config.get("preprocess_cfg") or {}).get("resize_mode") or "shortest"
    if named not in _MODES:
        raise ExportError(f"unknown resize mode {named!r} in {OPEN_CLIP_CONFIG}; known are {', '.join(_MODES)}")
    return _MODES[named]


def _preprocessing(settings: Any) -> Preprocessing:
    height, width = settings.size if isinstance(settings.size, (tuple, list)) else (settings.size, settings.size)
    if height != width:
        raise ExportError(f"the model takes images of {height} x {width}; only square images are supported")
    # Outside of training, open_clip reads "random" as bicubic.
    interpolation: Any = "bilinear" if settings.interpolation == "bilinear" else "bicubic"
    mode: Any = _MODES[settings.resize_mode]
    return Preprocessing(
        mode=mode,
        size=int(height),
        interpolation=interpolation,
        mean=to_triple(settings.mean),
        std=to_triple(settings.std),
        pad_value=int(settings.fill_color),
        crop="round",
    )


def _tokenization(tokenizer: Any, text_cfg: dict[str, Any]) -> tuple[Tokenization, str]:
    options: dict[str, Any] = text_cfg.get("tokenizer_kwargs") or {}
    unknown = [name for name in ("strip_sep_token", "reduction_mask", "language") if options.get(name)]
    if text_cfg.get("tokenizer_mode"):
        unknown.append(f"tokenizer_mode={text_cfg['tokenizer_mode']}")
    if unknown:
        raise ExportError(f"{OPEN_CLIP_CONFIG} asks for tokenizer options that are not supported: {', '.join(unknown)}")
    simple = isinstance(tokenizer, SimpleTokenizer)
    normalization: Any = _NORMALIZATIONS[options.get("clean", "lower" if simple else "whitespace")]
    pad_id = 0 if simple else tokenizer.tokenizer.pad_token_id
    content = tokenizer_json_of(tokenizer) if simple else tokenizer.tokenizer.backend_tokenizer.to_str()
    settings = Tokenization(context_length=tokenizer.context_length, pad_id=pad_id, normalization=normalization)
    return settings, content


def _require_tokens(model: Any, tokenizer: Any, location: CheckpointFolder) -> None:
    text = getattr(model, "text", model)
    rows = text.config.vocab_size if hasattr(text, "config") else text.vocab_size
    simple = isinstance(tokenizer, SimpleTokenizer)
    vocabulary = tokenizer.encoder if simple else tokenizer.tokenizer.get_vocab()
    require_vocabulary(max(vocabulary.values()), rows, location, None)


@contextmanager
def _self_contained_copy(
    location: CheckpointFolder, config: dict[str, Any]
) -> Iterator[tuple[Path, list[BorrowedFiles | None]]]:
    """A temporary folder of links to the checkpoint's files, whose config names this folder as the text model.

    The list has the files that came from the text model's own repository.

    Published configs name the text model by its hub id. open_clip would ask the hub for it although the files are here.
    """
    text_cfg = config["model_cfg"].get("text_cfg", {})
    with tempfile.TemporaryDirectory(prefix="cxr-open-clip-") as name:
        staged = Path(name)
        borrowed: list[BorrowedFiles | None] = []
        for path in location.folder.iterdir():
            if path.is_file() and path.name != OPEN_CLIP_CONFIG:
                _link(path, staged / path.name)
        text_model = text_cfg.get("hf_model_name")
        if text_model and not location.has("config.json"):
            borrowed.append(_add_missing(staged, text_model, location, "config.json (the text tower's)"))
        named = text_cfg.get("hf_tokenizer_name")
        if named and not location.has(*_TOKENIZER_FILES):
            what = f"tokenizer (one of {', '.join(_TOKENIZER_FILES)})"
            borrowed.append(_add_missing(staged, named, location, what))
        rewritten = {key: str(staged) for key in ("hf_model_name", "hf_tokenizer_name") if text_cfg.get(key)}
        model_cfg = config["model_cfg"] | {"text_cfg": text_cfg | rewritten}
        (staged / OPEN_CLIP_CONFIG).write_text(json.dumps(config | {"model_cfg": model_cfg}), encoding="utf-8")
        yield staged, borrowed


def _add_missing(staged: Path, hub_id: str, location: CheckpointFolder, what: str) -> BorrowedFiles | None:
    try:
        folder = fetch_files(hub_id, offline=location.is_local)
    except ExportError as error:
        raise ExportError(
            f"{location.folder} has no {what}; copy it from {hub_id} into the folder ({error})"
        ) from error
    missing = [path for path in sorted(folder.iterdir()) if path.is_file() and not (staged / path.name).exists()]
    for path in missing:
        _link(path, staged / path.name)
    files = tuple(path.name for path in missing)
    return BorrowedFiles(source=hub_id, revision=folder.name, files=files) if files else None


def _link(path: Path, link: Path) -> None:
    try:
        link.symlink_to(path.resolve())
    except OSError:  # Windows lets only some users make links
        shutil.copyfile(path, link)
