"""Settings of a training run, read from JSON files."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from retrieval.errors import TrainingError

Positive = Annotated[int, msgspec.Meta(gt=0)]
Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]
NonNegative = Annotated[float, msgspec.Meta(ge=0)]


class Architecture(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A new model: the configuration of its library, and the size of its tokenizer.

    `model` is open_clip's `model_cfg`, or the arguments of transformers' `SiglipConfig`. Vocabulary size, padding and end
    ids come from the trained tokenizer. `preprocessing` is open_clip's `preprocess_cfg`, or the arguments of
    `SiglipImageProcessor`.
    """

    family: Literal["open_clip", "siglip"]
    model: dict[str, Any]
    preprocessing: dict[str, Any] = {}
    vocabulary_size: Positive = 1500
    """Largest number of word pieces in the tokenizer, special ones included."""
    image_weights: Literal["efficientnet-lite0"] | None = None
    """Start the image tower from these weights instead of random ones. They need the extra `pretrained`."""
    text_weights: Literal["all-minilm-l6-v2"] | None = None
    """The same for the text tower, which then has the layers and tokenizer of the sentence encoder."""

    def __post_init__(self) -> None:
        if self.family != "open_clip" and (self.image_weights or self.text_weights):
            raise ValueError("image_weights and text_weights are for the family open_clip")


class ImageAugmentation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Random changes of a training image. No change mirrors it: laterality matters in a chest X-ray.

    Each value is the largest change; changes are drawn uniformly in both directions. `translation` is a share of the
    side, `scale` and `aspect` of the size, `brightness` of white, `contrast` and `gamma` of the value. `noise` is the
    standard deviation of Gaussian noise as a share of white.
    """

    rotation_degrees: NonNegative = 8.0
    translation: Fraction = 0.06
    scale: Fraction = 0.12
    aspect: Fraction = 0.05
    brightness: Fraction = 0.1
    contrast: Fraction = 0.25
    gamma: Fraction = 0.25
    noise: Fraction = 0.02


class TextAugmentation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Probability of each kind of training text; otherwise the text is the whole report.

    `subset`: some sentences in random order, each kept with probability `keep`. `impression`: only the impression.
    `sentence`: one sentence. `terms`: indexing terms, as users type them.
    """

    subset: Fraction = 0.5
    keep: Fraction = 0.7
    impression: Fraction = 0.1
    sentence: Fraction = 0.05
    terms: Fraction = 0.0

    def __post_init__(self) -> None:
        if self.subset + self.impression + self.sentence + self.terms > 1 + 1e-9:
            raise ValueError("subset, impression, sentence and terms are probabilities; their sum may not exceed 1")


class FinetuneSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One training run. It starts from `checkpoint` or as a new model of `architecture`; exactly one must be set.

    `shared_text` is for a text that is also true of another study in the batch, such as an identical report: `mask`
    leaves that pair out of the loss, `positive` counts it as a pair.
    """

    checkpoint: str | None = None
    """Folder of a checkpoint, or its id on the hub."""
    architecture: Architecture | None = None
    loss: Literal["sigmoid", "infonce"] = "sigmoid"
    shared_text: Literal["mask", "positive"] = "mask"
    epochs: Positive = 30
    time_limit_min: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """Training ends by then, its learning rate annealed; a run cut by time depends on the machine's speed."""
    batch_size: Annotated[int, msgspec.Meta(ge=2)] = 128
    learning_rate: Annotated[float, msgspec.Meta(gt=0)] = 1e-3
    text_rate: Fraction = 1.0
    """The text tower's learning rate as a share of `learning_rate`. A pretrained tower forgets less at a low rate."""
    weight_decay: NonNegative = 0.05
    accumulate: Positive = 1
    """Number of parts in which a batch is computed, to save memory. The loss is still that of the whole batch."""
    image_unlocked: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """Number of the image tower's last blocks that are trained, besides its projection. None trains the whole tower; 0 is
    locked-image tuning (LiT, Zhai et al., 2022)."""
    text_unlocked: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """The same for the text tower."""
    warmup: Fraction = 0.05
    """Share of the steps in which the learning rate rises."""
    average: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    """Decay of the running average of the weights, which is validated and saved; 0 saves the weights of the last step."""
    clip_norm: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    patience: Positive = 10
    """Training stops after this number of epochs without a better validation."""
    views: Literal["frontal", "all"] = "all"
    images: ImageAugmentation = ImageAugmentation()
    texts: TextAugmentation = TextAugmentation()
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """`auto`: bf16 with hardware support (AMX, recent GPUs), fp16 on older GPUs, else fp32."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Annotated[int, msgspec.Meta(ge=0)] = 0
    """CPU threads; 0 leaves the number to torch."""
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.checkpoint is None) == (self.architecture is None):
            raise ValueError("name exactly one of `checkpoint` (a folder or hub id) and `architecture` (from scratch)")


def load_settings(config: str | Path, **overrides: Any) -> FinetuneSettings:
    """Settings from a JSON file, or from a configuration of `shipped_configs`.

    `overrides` that are not None replace top-level fields. A `checkpoint` replaces the file's architecture.

    Raises:
        TrainingError: there is no such configuration, or a field or value is unknown.
    """
    path = Path(config)
    if path.suffix == ".json" or path.is_file():
        if not path.is_file():
            raise TrainingError(f"there is no configuration file {path}")
        raw = path.read_bytes()
    else:
        shipped = resources.files(__package__).joinpath("configs", f"{config}.json")
        if not shipped.is_file():
            raise TrainingError(
                f"no configuration {str(config)!r}: give a .json file or one of {', '.join(shipped_configs())}"
            )
        raw = shipped.read_bytes()
    try:
        fields = msgspec.json.decode(raw, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise TrainingError(f"{config} is not a JSON object: {error}") from error
    if overrides.get("checkpoint") is not None:
        fields.pop("architecture", None)  # the checkpoint has its own
    return make_settings(fields, where=str(config), **overrides)


def make_settings(fields: dict[str, Any], *, where: str = "the settings", **overrides: Any) -> FinetuneSettings:
    """Settings from plain values; `where` names them in errors.

    Raises:
        TrainingError: a field or value is unknown.
    """
    merged = fields | {name: value for name, value in overrides.items() if value is not None}
    try:
        return msgspec.convert(merged, FinetuneSettings)
    except msgspec.ValidationError as error:
        raise TrainingError(f"{where} cannot be used for training: {error}") from error


def shipped_configs() -> list[str]:
    """Names of the configurations in this package."""
    folder = resources.files(__package__).joinpath("configs")
    return sorted(entry.name.removesuffix(".json") for entry in folder.iterdir() if entry.name.endswith(".json"))
