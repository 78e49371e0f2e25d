"""SigLIP's tokenizer. Its reference is a SentencePiece class; the published `tokenizer.json` does only part of its work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, SiglipTokenizer
from transformers.convert_slow_tokenizer import import_protobuf

from exporters.checkpoints.location import CheckpointFolder
from retrieval.errors import ExportError


def load_siglip_tokenizer(location: CheckpointFolder) -> tuple[Any, str]:
    """The reference tokenizer, and the `tokenizer.json` content that gives the same ids for canonicalized text.

    The reference class needs `spiece.model`. Without that file the folder's fast tokenizer replaces it, after the
    reference's own `canonicalize_text`: only the segmentation is then not that of the reference.

    Raises:
        ExportError: the files cannot be read.
    """
    try:
        if location.has("spiece.model"):
            # Not AutoTokenizer: transformers 5 prefers tokenizer.json, which does not lower-case.
            reference = SiglipTokenizer(str(location.folder / "spiece.model"))
            return reference, _tokenizer_file(location, reference)
        reference = PreTrainedTokenizerFast.from_pretrained(location.folder)
        return reference, reference.backend_tokenizer.to_str()
    except ExportError:
        raise
    except Exception as error:  # sentencepiece and tokenizers raise bare RuntimeError and Exception
        raise ExportError(f"the SigLIP tokenizer in {location.folder} cannot be loaded: {error}") from error


def canonicalize(text: str) -> str:
    """`text` in lower case, without ASCII punctuation, with single spaces, as transformers' own function gives it."""
    # The method reads only this field of its object, and a complete object needs spiece.model.
    reference: Any = object.__new__(SiglipTokenizer)
    reference.__dict__["do_lower_case"] = True
    canonical: str = reference.canonicalize_text(text)
    return canonical


def _tokenizer_file(location: CheckpointFolder, reference: Any) -> str:
    published = location.folder / "tokenizer.json"
    if published.is_file():
        return published.read_text(encoding="utf-8")
    return tokenizer_json_of(location.folder / "spiece.model", reference)


def tokenizer_json_of(model: Path, reference: Any) -> str:
    """A Unigram `tokenizer.json` of a SentencePiece model: its pieces and its character map, with `</s>` at the end."""
    protobuf: Any = import_protobuf()  # type: ignore[no-untyped-call]
    proto = protobuf.ModelProto()
    proto.ParseFromString(model.read_bytes())
    tokenizer = Tokenizer(
        models.Unigram(
            [(piece.piece, piece.score) for piece in proto.pieces],
            proto.trainer_spec.unk_id,
            False,
        )
    )
    charsmap = proto.normalizer_spec.precompiled_charsmap
    tokenizer.normalizer = normalizers.Sequence(
        [
            *([normalizers.Precompiled(charsmap)] if charsmap else []),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    end, end_id = reference.eos_token, reference.eos_token_id
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {end}", special_tokens=[(end, end_id)])
    tokenizer.add_special_tokens([AddedToken(end, normalized=False)])
    return tokenizer.to_str()
