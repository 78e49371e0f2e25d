"""A WordPiece tokenizer learnt from the training texts, for models that start from scratch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

PAD, UNKNOWN, START, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
PAD_ID, UNKNOWN_ID, START_ID, END_ID = range(4)


def train_tokenizer(texts: Iterable[str], *, vocabulary_size: int, context_length: int) -> Any:
    """A `PreTrainedTokenizerFast` with at most `vocabulary_size` lower-case word pieces.

    Every text becomes `[CLS] pieces [SEP]`; what is too long is cut so that `[SEP]` stays. The ids of the special tokens are
    0 to 3 in the order of `PAD, UNKNOWN, START, END`. The same texts give the same tokenizer.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordPiece(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary_size, special_tokens=[PAD, UNKNOWN, START, END], show_progress=False
    )
    # The trainer counts in parallel and breaks ties by order of arrival: one sorted list keeps it reproducible.
    tokenizer.train_from_iterator(sorted(texts), trainer)
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
