"""Writes tiny checkpoints of every family with their libraries: random weights, real files, no network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

TEXTS = (
    "Heart size is normal. The lungs are clear.",
    "No pneumothorax, pleural effusion, or focal air-space disease.",
    "Mild cardiomegaly with small left pleural effusion; s/p CABG (2009).",
    "The cardiomediastinal silhouette is within normal limits. Degenerative changes of the thoracic spine are noted.",
    "Stable right upper lobe nodule. Granulomatous disease. XXXX-year-old male.",
)
_TOWER = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}


def write_clip(folder: Path) -> Path:
    """A `CLIPModel` with its own byte-level BPE; resize and crop as in CLIP."""
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

    vocabulary, merges = _train_bpe()
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges)
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    text = _TOWER | {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 24,
        "bos_token_id": start,
        "eos_token_id": end,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = _TOWER | {"image_size": 48, "patch_size": 16}
    _seed()
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)).save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 48}, crop_size={"height": 48, "width": 48}).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_siglip(folder: Path, *, tokenizer: str = "wordpiece") -> Path:
    """A `SiglipModel`; `tokenizer` is `wordpiece` (as `cxr finetune` makes it), `sentencepiece`, `unigram` or `gemma`.

    `sentencepiece` has only `spiece.model`; `unigram` only the `tokenizer.json` made from it, as some releases; `gemma` is
    the kind of SigLIP 2.
    """
    from transformers import SiglipConfig, SiglipImageProcessorPil, SiglipModel

    folder.mkdir(parents=True)
    if tokenizer == "wordpiece":
        from exporters.finetune.word_pieces import train_tokenizer

        words = train_tokenizer(TEXTS, vocabulary_size=120, context_length=16)
        words.save_pretrained(folder)
        size = len(words)
    elif tokenizer == "gemma":
        size = _write_gemma(folder)
    else:
        size = _write_sentencepiece(folder, keep_model=tokenizer == "sentencepiece")
    text = _TOWER | {"vocab_size": size, "max_position_embeddings": 16}
    vision = _TOWER | {"image_size": 48, "patch_size": 16}
    _seed()
    SiglipModel(SiglipConfig(text_config=text, vision_config=vision)).save_pretrained(folder)
    SiglipImageProcessorPil(
        size={"height": 48, "width": 48}, image_mean=[0.5] * 3, image_std=[0.5] * 3
    ).save_pretrained(folder)
    return folder


def write_open_clip(folder: Path, *, preprocess: dict[str, Any] | None = None) -> Path:
    """An open_clip `CLIP` with a small ConvNeXt of timm and open_clip's own BPE tokenizer."""
    folder.mkdir(parents=True)
    config = {
        "model_cfg": {
            "embed_dim": 24,
            "vision_cfg": {
                "timm_model_name": "test_convnext",
                "timm_pool": "",
                "timm_proj": "linear",
                "image_size": 64,
            },
            "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
        },
        "preprocess_cfg": preprocess or {"resize_mode": "squash", "interpolation": "bilinear"},
    }
    return _save_open_clip(folder, config)


def write_open_clip_bert(folder: Path) -> Path:
    """A small BiomedCLIP: a timm ViT, and a BERT that the config names by a hub id, with its files beside the weights."""
    from transformers import BertConfig, BertTokenizerFast

    from exporters.finetune.word_pieces import train_tokenizer

    folder.mkdir(parents=True)
    words = train_tokenizer(TEXTS, vocabulary_size=120, context_length=24).get_vocab()
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": len(words)} | words
    BertTokenizerFast(vocab=vocabulary).save_pretrained(folder)
    BertConfig(**_TOWER, vocab_size=len(vocabulary), max_position_embeddings=32).save_pretrained(folder)
    config = {
        "model_cfg": {
            "embed_dim": 24,
            "vision_cfg": {"timm_model_name": "test_vit", "timm_pool": "", "timm_proj": "linear", "image_size": 160},
            "text_cfg": {
                "hf_model_name": "nobody/no-such-text-model",
                "hf_tokenizer_name": "nobody/no-such-text-model",
                "hf_proj_type": "mlp",
                "hf_pooler_type": "cls_last_hidden_state_pooler",
                "context_length": 24,
            },
        },
        "preprocess_cfg": {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]},
    }
    return _save_open_clip(folder, config)


def _save_open_clip(folder: Path, config: dict[str, Any]) -> Path:
    import open_clip
    from safetensors.torch import save_file

    path = folder / "open_clip_config.json"
    built = json.loads(json.dumps(config))
    if "hf_model_name" in built["model_cfg"]["text_cfg"]:
        built["model_cfg"]["text_cfg"]["hf_model_name"] = str(folder)
    path.write_text(json.dumps(built))
    _seed()
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False, pretrained_text=False)
    save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    path.write_text(json.dumps(config))
    return folder


def _train_bpe() -> tuple[dict[str, int], list[tuple[str, str]]]:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        end_of_word_suffix="</w>",
        special_tokens=["<|startoftext|>", "<|endoftext|>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator([text.lower() for text in TEXTS], trainer)
    trained = json.loads(tokenizer.to_str())["model"]
    return trained["vocab"], [tuple(merge) for merge in trained["merges"]]


def _write_sentencepiece(folder: Path, *, keep_model: bool) -> int:
    """A small SigLIP vocabulary: `<pad>` 0, `</s>` 1, `<unk>` 2, no start token."""
    import sentencepiece
    from transformers import SiglipTokenizer

    from exporters.checkpoints.siglip_tokenizer import tokenizer_json_of

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 4),
        model_prefix=str(folder / "spiece"),
        vocab_size=90,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        normalization_rule_name="nmt_nfkc",
        minloglevel=2,
    )
    (folder / "spiece.vocab").unlink()
    tokenizer = SiglipTokenizer(str(folder / "spiece.model"))
    config = {
        "tokenizer_class": "SiglipTokenizer",
        "model_max_length": 16,
        "pad_token": "</s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "model_input_names": ["input_ids"],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    if not keep_model:
        (folder / "tokenizer.json").write_text(tokenizer_json_of(folder / "spiece.model", tokenizer))
        (folder / "spiece.model").unlink()
    return len(tokenizer)


def _write_gemma(folder: Path) -> int:
    """A small byte-pair vocabulary of the class of SigLIP 2."""
    from tokenizers import Tokenizer, models, normalizers, trainers
    from transformers import GemmaTokenizer

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    trainer = trainers.BpeTrainer(vocab_size=120, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([text.lower() for text in TEXTS], trainer)
    trained = json.loads(tokenizer.to_str())["model"]
    merges = [tuple(merge) for merge in trained["merges"]]
    gemma = GemmaTokenizer(vocab=trained["vocab"], merges=merges, padding_side="right", model_input_names=["input_ids"])
    gemma.save_pretrained(folder)
    return len(gemma)


def _seed() -> None:
    torch.manual_seed(0)
