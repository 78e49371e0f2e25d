"""Trains a WordPiece tokenizer on the training texts, for models that start from scratch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

PAD, UNKNOWN, START, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
PAD_ID, UNKNOWN_ID, START_ID, END_ID = range(4)


def train_tokenizer(texts: Iterable[str], *, vocabulary_size: int, context_length: int) -> Any:
    """A `PreTrainedTokenizerFast` with at most `vocabulary_size` lower-case word pieces.

    Every text becomes `[CLS] pieces [SEP]`; long texts are truncated before `[SEP]`. The ids of the special tokens are 0 to
    3 in the order `PAD, UNKNOWN, START, END`. The same texts give the same tokenizer.
    """
    normalizer, pre_tokenizer = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    lines = [normalizer.normalize_str(text) for text in sorted(texts)]
    letters = sorted({letter for line in lines for letter in line if not letter.isspace()})
    # The trainer numbers letters in the order of a randomly seeded hash and breaks ties by number. Special tokens keep
    # our order, so letters are special tokens for the trainer, and not in the final tokenizer.
    fixed = [PAD, UNKNOWN, START, END, *letters, *(f"##{letter}" for letter in letters)]
    trained = Tokenizer(models.WordPiece(unk_token=UNKNOWN))
    trained.pre_tokenizer = pre_tokenizer
    trained.train_from_iterator(
        lines, trainers.WordPieceTrainer(vocab_size=vocabulary_size, special_tokens=fixed, show_progress=False)
    )
    tokenizer = Tokenizer(models.WordPiece(trained.get_vocab(), unk_token=UNKNOWN))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, START_ID), (END, END_ID)]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        cls_token=START,
        sep_token=END,
        model_max_length=context_length,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )
