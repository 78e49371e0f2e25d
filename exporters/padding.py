"""How long texts are made: to the context length, or only to the longest of a batch where that proves to be the same."""

from __future__ import annotations

from pathlib import Path

import msgspec
import torch

from exporters.checkpoints import Checkpoint
from retrieval.model.bundle import Tokenization
from retrieval.model.tokenize import TextTokenizer

# Short ones, that no context is too short for.
_SAMPLE = ("Heart size is normal.", "cardiomegaly with pleural effusion", "")


def proven_tokenization(
    checkpoint: Checkpoint, tokenizer_file: Path, *, device: str | torch.device = "cpu"
) -> Tokenization:
    """The tokenization of `checkpoint`, with padding `longest` if its text tower, in evaluation mode on `device`, gives the
    same embeddings without the padding: a short text then does not pay for the whole context.

    SigLIP's does not: it reads the last position, padding or not.
    """
    fixed = checkpoint.tokenization
    longest = msgspec.structs.replace(fixed, padding="longest")
    padded, cut = (
        torch.from_numpy(TextTokenizer(tokenizer_file, settings)(_SAMPLE)["input_ids"]).to(device)
        for settings in (fixed, longest)
    )
    if cut.shape[1] >= padded.shape[1]:
        return fixed  # nothing was cut, so nothing is shown
    with torch.inference_mode():
        try:
            same = torch.allclose(checkpoint.text_tower(cut), checkpoint.text_tower(padded), atol=1e-5)
        except (RuntimeError, ValueError):  # a tower that takes one length only
            return fixed
    return longest if same else fixed
