"""The models that `cxr export KEY` knows by name. Any other checkpoint needs `--checkpoint`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from retrieval.errors import ExportError, UnknownModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Lender:
    """The repository from which a model takes the tokenizer or the image processor that its own repository lacks."""

    source: str
    revision: str
    """Commit, so that a bundle does not change with the lender."""
    tokenizer: tuple[str, ...]
    processor: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.source} (commit {self.revision[:8]}) lends a missing tokenizer and image processor"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """Description of a published model.

    `dim`, `image_size` (pixels per side) and `context_length` (tokens) are those of the published checkpoint. An export
    reads them from the checkpoint itself.
    """

    key: str
    source: str
    family: Literal["clip", "siglip", "open_clip"]
    licence: str
    dim: int
    image_size: int
    context_length: int
    training: str
    """Architecture and training data."""
    quality: str
    """Published results and caveats."""
    preprocessing: str
    """How images are prepared by default, and why."""
    revision: str | None = None
    """Commit of the hub repository; None takes the newest. An export records the commit it used."""
    lender: Lender | None = None
    """Repository of files that `source` lacks."""
    gated: bool = False
    non_commercial: bool = False

    @property
    def loader(self) -> str:
        """The class that reads the checkpoint."""
        return {
            "clip": "transformers.CLIPModel",
            "siglip": "transformers.SiglipModel",
            "open_clip": "open_clip.create_model",
        }[self.family]

    @property
    def notes(self) -> str:
        """`training` and `quality` in one paragraph."""
        return f"{self.training} {self.quality}"


_CLIP_PIXELS = (
    "Shortest side to 224 pixels, bicubic, then the centre square, as in training; a radiograph loses its margins."
)
_SIGLIP_PIXELS = "Stretched to a square, bicubic, nothing cropped: the hub's processor, as in training."
_MEDSIGLIP_PIXELS = (
    "Stretched to 448 x 448: the hub's processor, which fine-tuning with transformers uses. Google's server pads to a "
    "square first, as in pre-training (--pad-square). The two differ on images that are far from square; measure both."
)
_SIGLIP_FILES = Lender(
    source="google/siglip-base-patch16-224",
    revision="7fd15f0689c79d79e38b1c2e2e2370a7bf2761ed",
    tokenizer=("spiece.model", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
    processor=("preprocessor_config.json",),
)

_ENTRIES = (
    ModelEntry(
        key="biomedclip",
        source="microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
        family="open_clip",
        licence="MIT",
        dim=512,
        image_size=224,
        context_length=256,
        training="ViT-B/16 and BiomedBERT, trained on 15 million figure-caption pairs of PubMed Central.",
        quality=(
            "Texts up to 256 tokens. Figures in papers, not reports: as published, weak on common findings (top-1 label "
            "recall on 980 chest X-rays: effusion 25 %, cardiomegaly 7 %)."
        ),
        preprocessing=_CLIP_PIXELS,
    ),
    ModelEntry(
        key="pubmed_clip",
        source="flaviagiammarino/pubmed-clip-vit-base-patch32",
        family="clip",
        licence="MIT",
        dim=512,
        image_size=224,
        context_length=77,
        training="CLIP ViT-B/32 fine-tuned on the image-caption pairs of ROCO, not on PubMed abstracts as is often said.",
        quality="The fastest of the four. Texts end at 77 tokens, less than many reports.",
        preprocessing=_CLIP_PIXELS,
    ),
    ModelEntry(
        key="siglip",
        source="google/siglip-base-patch16-224",
        family="siglip",
        licence="Apache-2.0",
        dim=768,
        image_size=224,
        context_length=64,
        training="SigLIP ViT-B/16 on general web images, no medical training.",
        quality=(
            "A baseline, and a start for fine-tuning. Texts are lower-cased, lose their punctuation and are padded to 64 "
            "tokens, which the tower relies on."
        ),
        preprocessing=_SIGLIP_PIXELS,
    ),
    ModelEntry(
        key="medsiglip",
        source="aysangh/medsiglip-448-vindr-bin",
        family="siglip",
        licence="none stated (derives from MedSigLIP: Health AI Developer Foundations terms)",
        dim=1152,
        image_size=448,
        context_length=64,
        lender=_SIGLIP_FILES,
        training=(
            "A fine-tune of MedSigLIP (SigLIP so400m/14 at 448 pixels, not siglip-large, which has 1,024 dimensions) on "
            "VinDr-CXR with two classes."
        ),
        quality=(
            "It has no model card, and its sibling's validation loss rises, a sign of overfitting: measure it against "
            "medsiglip-448 before relying on it."
        ),
        preprocessing=_MEDSIGLIP_PIXELS,
    ),
    ModelEntry(
        key="medsiglip-448",
        source="google/medsiglip-448",
        family="siglip",
        licence="Health AI Developer Foundations terms",
        dim=1152,
        image_size=448,
        context_length=64,
        lender=_SIGLIP_FILES,
        gated=True,
        training="Google's medical SigLIP so400m/14 at 448 pixels, chest X-rays included.",
        quality="Published zero-shot AUC .844 over 13 findings.",
        preprocessing=_MEDSIGLIP_PIXELS,
    ),
    ModelEntry(
        key="clip",
        source="openai/clip-vit-base-patch32",
        family="clip",
        licence="MIT",
        dim=512,
        image_size=224,
        context_length=77,
        training="CLIP ViT-B/32 on general web images, no medical training.",
        quality="The baseline that PubMedCLIP started from.",
        preprocessing=_CLIP_PIXELS,
    ),
    ModelEntry(
        key="siglip2",
        source="google/siglip2-base-patch16-224",
        family="siglip",
        licence="Apache-2.0",
        dim=768,
        image_size=224,
        context_length=64,
        training="SigLIP 2 ViT-B/16 on general web images, no medical training.",
        quality="Another tokenizer (256,000 pieces) than siglip.",
        preprocessing=_SIGLIP_PIXELS,
    ),
    ModelEntry(
        key="xraysiglip",
        source="StanfordAIMI/XraySigLIP__vit-l-16-siglip-384__webli",
        family="siglip",
        licence="CC-BY-NC-4.0",
        dim=1024,
        image_size=384,
        context_length=64,
        non_commercial=True,
        training="SigLIP ViT-L/16 at 384 pixels, trained further on chest X-rays and their reports.",
        quality="Not for commercial use.",
        preprocessing=_SIGLIP_PIXELS,
    ),
)

REGISTRY: dict[str, ModelEntry] = {entry.key: entry for entry in _ENTRIES}


def find_entry(key: str) -> ModelEntry:
    """The entry `key`.

    Raises:
        UnknownModel: the registry has no such key; the message lists all keys.
    """
    if key not in REGISTRY:
        raise UnknownModel(
            f"the registry has no model {key!r} (known: {', '.join(REGISTRY)}); "
            "for any other checkpoint pass --checkpoint DIR"
        )
    return REGISTRY[key]


def lender_of(source: str) -> Lender | None:
    """The lender of the hub repository `source`; None if the registry names none."""
    return next((entry.lender for entry in REGISTRY.values() if entry.source == source), None)


def require_licence(entry: ModelEntry, accepted: bool) -> None:
    """Demand consent before a model with restricting terms is exported.

    Raises:
        ExportError: the terms are restrictive and were not accepted.
    """
    if accepted or not (entry.gated or entry.non_commercial):
        return
    restrictions = [
        *(["its terms must be accepted on its page"] if entry.gated else []),
        *(["it is not for commercial use"] if entry.non_commercial else []),
    ]
    raise ExportError(
        f"{entry.key} ({entry.source}) has the licence {entry.licence}: {' and '.join(restrictions)}. "
        "Read the terms, then repeat with --accept-license"
    )
