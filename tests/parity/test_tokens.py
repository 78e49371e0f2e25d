"""Our token ids equal those of the reference tokenizers; published tokenizer files are used if they are available."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pytest

from exporters.parity import TEXTS
from retrieval.model.bundle import Tokenization
from retrieval.model.tokenize import TextTokenizer

HF_DIR = Path(__file__).parents[3] / "shared" / "hf"
UNUSUAL = (
    *TEXTS,
    "\t\r\n",
    "...!!!---___",
    "don't WE'LL it'S 'Re",
    "12345 67 8.9 1,000 T12-L1",
    "<start_of_text> <end_of_text> <|startoftext|> <|endoftext|> </s> <unk> <pad> [CLS] [SEP] [MASK] [PAD]",
    "Ünïcödé ½ ₂ ² Ⅷ ﬁ ＦＵＬＬ İstanbul ΣΑΣ ẞ ǅ",
    "肺炎 の 胸部 폐렴 التهاب क्षय 🫁🩻👨‍⚕️",
    "zero\u200bwidth \ufeffmark \xa0space \u2028line \u202eright",
    "&amp;amp; &lt;5 mm &#181;m “curly” ‘quotes’ â€œmojibakeâ€\x9d",
    "e\u0301 versus é",
)


def published(name: str) -> Path:
    folder = HF_DIR / name
    if not folder.is_dir():
        pytest.skip(f"no published tokenizer files at {HF_DIR}")
    return folder


def write_tokenizer(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


def test_ids_equal_those_of_the_bpe_of_open_clip(tmp_path):
    from open_clip.tokenizer import SimpleTokenizer

    from exporters.checkpoints.simple_tokenizer import tokenizer_json_of

    reference = SimpleTokenizer(context_length=77)
    path = write_tokenizer(tmp_path / "tokenizer.json", tokenizer_json_of(reference))
    ours = TextTokenizer(path, Tokenization(context_length=77, normalization="open_clip_lower"))
    texts = [*UNUSUAL, *random_texts(300)]
    expected = reference(texts).numpy()
    for text, row, wanted in zip(texts, ours(texts)["input_ids"], expected, strict=True):
        np.testing.assert_array_equal(row, wanted, err_msg=repr(text))


@pytest.mark.parametrize("clean", ["whitespace", "lower", "canonicalize"])
def test_cleaning_equals_that_of_open_clip(clean, tmp_path):
    from open_clip.tokenizer import SimpleTokenizer, get_clean_fn

    from exporters.checkpoints.simple_tokenizer import tokenizer_json_of

    name = {"whitespace": "open_clip"}.get(clean, f"open_clip_{clean}")
    path = write_tokenizer(tmp_path / "tokenizer.json", tokenizer_json_of(SimpleTokenizer()))
    ours = TextTokenizer(path, Tokenization(context_length=77, normalization=name))
    reference = get_clean_fn(clean)
    for text in (*UNUSUAL, *random_texts(300)):
        assert ours.normalize(text) == reference(text)


def test_canonicalization_equals_that_of_siglip(tmp_path):
    from exporters.checkpoints.siglip_tokenizer import canonicalize

    path = write_tokenizer(tmp_path / "tokenizer.json", json.dumps(EMPTY_TOKENIZER))
    ours = TextTokenizer(path, Tokenization(context_length=64, pad_id=0, normalization="siglip"))
    for text in (*UNUSUAL, *random_texts(300)):
        assert ours.normalize(text) == canonicalize(text)


def test_ids_of_the_published_siglip_tokenizer_equal_those_of_a_canonicalizing_one():
    folder = published("google__siglip-base-patch16-224")
    settings = Tokenization(context_length=64, pad_id=1, normalization="siglip")
    ours = TextTokenizer(folder / "tokenizer.json", settings)
    # A file by others with the same vocabulary and with the canonicalization built in.
    canonical = TextTokenizer(folder / "tokenizer.canonical.assembled.json", Tokenization(context_length=64, pad_id=1))
    texts = ["Heart size is NORMAL.  No effusion, or pneumothorax!", "", "s/p CABG (2009)", "lungs clear. " * 60]
    np.testing.assert_array_equal(ours(texts)["input_ids"], canonical(texts)["input_ids"])
    ids = ours(["Heart"])["input_ids"]
    assert ids.shape == (1, 64)
    assert ids[0, -1] == 1


@pytest.mark.parametrize(
    ("name", "length", "pad_id"),
    [
        ("flaviagiammarino__pubmed-clip-vit-base-patch32", 77, 49407),
        ("microsoft__BiomedCLIP-PubMedBERT_256-vit_base_patch16_224", 256, 0),
    ],
)
def test_ids_of_published_tokenizers_equal_transformers(name, length, pad_id, tmp_path):
    from transformers import AutoTokenizer

    folder = published(name)
    reference = AutoTokenizer.from_pretrained(folder)
    path = write_tokenizer(tmp_path / "tokenizer.json", reference.backend_tokenizer.to_str())
    ours = TextTokenizer(path, Tokenization(context_length=length, pad_id=pad_id))
    texts = [*UNUSUAL, *random_texts(100)]
    expected = reference(texts, padding="max_length", truncation=True, max_length=length, return_tensors="np")
    np.testing.assert_array_equal(ours(texts)["input_ids"], expected["input_ids"])


def random_texts(count: int) -> list[str]:
    """Random strings of report words, punctuation and Unicode characters."""
    source = random.Random(5)
    words = [
        "Heart",
        "size",
        "normal.",
        "No",
        "pleural",
        "effusion,",
        "pneumothorax;",
        "XXXX",
        "(left)",
        "right-sided",
        "5mm",
        "T2/T3",
        "_x_",
        "don't",
    ]
    pieces = [
        *words,
        *(chr(source.choice((source.randrange(32, 0x2FF), source.randrange(0x300, 0xD7FF)))) for _ in range(400)),
    ]
    return [
        source.choice(("", " ", "  ")).join(source.choices(pieces, k=source.randrange(1, 40))) for _ in range(count)
    ]


EMPTY_TOKENIZER = {
    "version": "1.0",
    "added_tokens": [],
    "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"},
}
