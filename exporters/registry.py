"""The models that `cxr export KEY` knows by name. Any other checkpoint goes by `--checkpoint`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from retrieval.errors import ExportError, UnknownModel


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """What is known of a model before its checkpoint is at hand.

    `dim`, `image_size` (pixels a side) and `context_length` (tokens) describe the published checkpoint; what an export
    writes is read off the checkpoint itself.
    """

    key: str
    source: str
    family: Literal["clip", "siglip", "open_clip"]
    licence: str
    dim: int
    image_size: int
    context_length: int
    notes: str
    revision: str | None = None
    """Commit of the hub repository; None takes its newest."""
    gated: bool = False
    non_commercial: bool = False


_ENTRIES = (
    ModelEntry(
        key="biomedclip",
        source="microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
        family="open_clip",
        licence="MIT",
        dim=512,
        image_size=224,
        context_length=256,
        notes=(
            "ViT-B/16 and BiomedBERT, trained on 15 million figure-caption pairs of PubMed Central; texts up to 256 "
            "tokens. Figures in papers, not reports: as published, weak on common findings (top-1 label recall on 980 "
            "chest X-rays: effusion 25 %, cardiomegaly 7 %)."
        ),
    ),
    ModelEntry(
        key="pubmed_clip",
        source="flaviagiammarino/pubmed-clip-vit-base-patch32",
        family="clip",
        licence="MIT",
        dim=512,
        image_size=224,
        context_length=77,
        notes=(
            "CLIP ViT-B/32 fine-tuned on the image-caption pairs of ROCO, not on PubMed abstracts as is often said. "
            "The fastest of the four. Texts end at 77 tokens, less than many reports."
        ),
    ),
    ModelEntry(
        key="siglip",
        source="google/siglip-base-patch16-224",
        family="siglip",
        licence="Apache-2.0",
        dim=768,
        image_size=224,
        context_length=64,
        notes=(
            "General web images, no medical training: a baseline, and a start for fine-tuning. Images are stretched, "
            "not cropped; texts are lower-cased, lose their punctuation and are padded to 64 tokens, which the tower "
            "relies on."
        ),
    ),
    ModelEntry(
        key="medsiglip",
        source="aysangh/medsiglip-448-vindr-bin",
        family="siglip",
        licence="none stated (derives from MedSigLIP: Health AI Developer Foundations terms)",
        dim=1152,
        image_size=448,
        context_length=64,
        notes=(
            "A fine-tune of MedSigLIP (SigLIP so400m/14 at 448 pixels, not siglip-large) on VinDr-CXR with two classes. "
            "It has no model card, and its sibling's validation loss rises, a sign of overfitting: measure it against "
            "medsiglip-448 before relying on it. Default preprocessing: the hub processor's stretch."
        ),
    ),
    ModelEntry(
        key="medsiglip-448",
        source="google/medsiglip-448",
        family="siglip",
        licence="Health AI Developer Foundations terms",
        dim=1152,
        image_size=448,
        context_length=64,
        gated=True,
        notes=(
            "Google's medical SigLIP so400m/14 at 448 pixels, chest X-rays included; published zero-shot AUC .844 over "
            "13 findings. Default preprocessing: the hub processor's stretch. Google's own server pads to a square "
            "first, as in training; on images that are far from square the two differ."
        ),
    ),
    ModelEntry(
        key="clip",
        source="openai/clip-vit-base-patch32",
        family="clip",
        licence="MIT",
        dim=512,
        image_size=224,
        context_length=77,
        notes="General web images, no medical training: the baseline that PubMedCLIP started from.",
    ),
    ModelEntry(
        key="siglip2",
        source="google/siglip2-base-patch16-224",
        family="siglip",
        licence="Apache-2.0",
        dim=768,
        image_size=224,
        context_length=64,
        notes="General web images, no medical training. Another tokenizer (256,000 pieces) than siglip.",
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
        notes="SigLIP trained further on chest X-rays and their reports; not for commercial use.",
    ),
)

REGISTRY: dict[str, ModelEntry] = {entry.key: entry for entry in _ENTRIES}


def find_entry(key: str) -> ModelEntry:
    """The entry `key`.

    Raises:
        UnknownModel: there is none; the message lists those there are.
    """
    if key not in REGISTRY:
        raise UnknownModel(
            f"the registry has no model {key!r} (known: {', '.join(REGISTRY)}); "
            "for any other checkpoint pass --checkpoint DIR"
        )
    return REGISTRY[key]


def require_licence(entry: ModelEntry, accepted: bool) -> None:
    """Demand consent before a model with restricting terms is exported.

    Raises:
        ExportError: the terms restrict and were not accepted.
    """
    if accepted or not (entry.gated or entry.non_commercial):
        return
    restrictions = [
        *(["its terms must be accepted on its page"] if entry.gated else []),
        *(["it is not for commercial use"] if entry.non_commercial else []),
    ]
    raise ExportError(
        f"{entry.key} ({entry.source}) comes under {entry.licence}: {' and '.join(restrictions)}. "
        "Read the terms, then repeat with --accept-license"
    )
