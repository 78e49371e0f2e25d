"""Chooses the padding of texts: to the context length, or to the longest of a batch if the embeddings stay the same."""

from __future__ import annotations

from pathlib import Path

import msgspec
import torch

from exporters.checkpoints.checkpoint import Checkpoint
from retrieval.model.bundle import Tokenization
from retrieval.model.tokenize import TextTokenizer

# Short texts, which fit into every context.
_SAMPLE = ("Heart size is normal.", "cardiomegaly with pleural effusion", "")


def shortest_tokenization(
    checkpoint: Checkpoint, tokenizer_file: Path, *, device: str | torch.device = "cpu"
) -> Tokenization:
    """The tokenization of `checkpoint`, with padding `longest` if its text tower gives the same embeddings with it.

    A short text then takes less time. The text tower runs in evaluation mode on `device`. SigLIP needs all its padding:
    it reads the last position.
    """
    fixed = checkpoint.tokenization
    longest = msgspec.structs.replace(fixed, padding="longest")
    padded, cut = (
        torch.from_numpy(TextTokenizer(tokenizer_file, settings)(_SAMPLE)["input_ids"]).to(device)
        for settings in (fixed, longest)
    )
    if cut.shape[1] >= padded.shape[1]:
        return fixed  # nothing was cut, so nothing is compared
    with torch.inference_mode():
        try:
            same = torch.allclose(checkpoint.text_tower(cut), checkpoint.text_tower(padded), atol=1e-5)
        except (RuntimeError, ValueError):  # the tower takes one length only
            return fixed
    return longest if same else fixed
