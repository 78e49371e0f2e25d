"""Converts open_clip's `SimpleTokenizer` (CLIP's byte-level BPE in Python) to a `tokenizer.json`."""

from __future__ import annotations

from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers, processors


def tokenizer_json_of(tokenizer: Any) -> str:
    """A `tokenizer.json` with the ids of an `open_clip.SimpleTokenizer`, for text that was cleaned as it does."""
    merges = sorted(tokenizer.bpe_ranks, key=tokenizer.bpe_ranks.__getitem__)
    fast = Tokenizer(models.BPE(vocab=tokenizer.encoder, merges=merges, end_of_word_suffix="</w>"))
    fast.pre_tokenizer = pre_tokenizers.Sequence(
        [
            # The pattern of SimpleTokenizer.__init__ with its case flag written out. Special tokens come first.
            pre_tokenizers.Split(
                Regex(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"),
                behavior="removed",
                invert=True,
            ),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    names = {name: id_ for name, id_ in tokenizer.encoder.items() if id_ in tokenizer.all_special_ids}
    fast.add_special_tokens([AddedToken(name, normalized=False) for name in names])
    start, end = (
        next(name for name, id_ in names.items() if id_ == wanted)
        for wanted in (tokenizer.sot_token_id, tokenizer.eot_token_id)
    )
    fast.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        special_tokens=[(start, names[start]), (end, names[end])],
    )
    return fast.to_str()
