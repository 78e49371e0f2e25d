"""Strings become token ids with the bundle's `tokenizer.json`, without transformers."""

from __future__ import annotations

import html
import re
import string
from collections.abc import Sequence
from pathlib import Path

import ftfy
import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from retrieval.errors import BundleError
from retrieval.model.bundle import Tokenization

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_SPACES = re.compile(r"\s+")


class TextTokenizer:
    """Applies the tokenization that a bundle's manifest describes. Safe from several threads."""

    def __init__(self, path: Path, settings: Tokenization) -> None:
        self.settings = settings
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the tokenizers library raises bare Exception
            raise BundleError(f"{path} is not a tokenizer: {error}") from error
        self._tokenizer.enable_truncation(max_length=settings.context_length)
        length = settings.context_length if settings.padding == "fixed" else None
        self._tokenizer.enable_padding(pad_id=settings.pad_id, length=length)

    def __call__(self, texts: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        """Graph inputs for `texts`: `input_ids` int64 [B, L] and, if the tower takes it, `attention_mask` int64 [B, L].

        L is the context length with fixed padding, else the length of the longest text, truncated at the context length.
        """
        encodings = self._tokenizer.encode_batch([self.normalize(text) for text in texts])
        inputs = {"input_ids": np.array([encoding.ids for encoding in encodings], dtype=np.int64)}
        if self.settings.attention_mask:
            inputs["attention_mask"] = np.array([encoding.attention_mask for encoding in encodings], dtype=np.int64)
        return inputs

    def normalize(self, text: str) -> str:
        """`text` in the form that the tokenizer expects.

        Raises:
            BundleError: the manifest names a normalization this version does not know.
        """
        match self.settings.normalization:
            case "none":
                return text
            case "lowercase":
                return text.lower()
            case "siglip":
                # SiglipTokenizer.canonicalize_text in transformers, after big_vision's prompt preprocessing; the
                # tokenizer itself lower-cases (`do_lower_case`).
                return _SPACES.sub(" ", text.lower().translate(_PUNCTUATION)).strip()
            case "open_clip":
                return _clean(text)
            case "open_clip_lower":
                return _clean(text).lower()
            case "open_clip_canonicalize":
                bare = _clean(text).replace("_", " ").translate(_PUNCTUATION).lower()
                return " ".join(bare.split())
            case unknown:
                raise BundleError(f"unknown text normalization {unknown!r}")


def _clean(text: str) -> str:
    # basic_clean and whitespace_clean in open_clip/tokenizer.py, with the same library: ftfy turns curly quotes,
    # ligatures and wrongly decoded text into the characters that the tower was trained on.
    return " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split())
