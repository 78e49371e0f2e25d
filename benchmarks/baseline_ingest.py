"""A typical script that indexes a collection, for comparison: transformers and torch per batch, FAISS, sqlite.

As in such scripts there is one loop without threads, the library's processors prepare the images, and every report is
encoded for every image. It keeps the vectors of both report sections, which reranking needs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer, PreTrainedTokenizerFast

from retrieval.records import Source, Study, studies_of


class BaselineIngest:
    """A model of transformers with its processors, loaded from a checkpoint folder."""

    def __init__(self, checkpoint: Path, threads: int) -> None:
        torch.set_num_threads(threads)
        self.model: Any = AutoModel.from_pretrained(checkpoint, attn_implementation="sdpa").eval()
        self.processor = AutoImageProcessor.from_pretrained(checkpoint)  # type: ignore[no-untyped-call]
        self.tokenizer = _load_tokenizer(checkpoint)
        self.context = self.model.config.text_config.max_position_embeddings

    def run(self, source: Source, folder: Path, batch: int) -> int:
        """Index all images of `source` into `folder`; returns their number."""
        database = sqlite3.connect(folder / "metadata.sqlite")
        database.execute(
            "CREATE TABLE images (row INTEGER PRIMARY KEY, study, image, view, findings, impression, mesh)"
        )
        indexes: dict[str, Any] = {}
        pairs = [(study, image) for study in studies_of(source) for image in study.images]
        todo = iter(pairs)
        done = 0
        while some := list(islice(todo, batch)):
            vectors = {"image": self.encode_images([read_pixels(image.path) for _, image in some])}
            for section in ("findings", "impression"):
                vectors[section] = self.encode_texts([getattr(study.report, section) for study, _ in some])
            for name, rows in vectors.items():
                indexes.setdefault(name, faiss.IndexFlatL2(rows.shape[1])).add(rows)
            database.executemany(
                "INSERT INTO images VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(done + n, *_row(study, image.image_id, image.view)) for n, (study, image) in enumerate(some)],
            )
            database.commit()
            done += len(some)
        for name, index in indexes.items():
            faiss.write_index(index, str(folder / f"{name}.faiss"))
        database.close()
        return done

    def encode_images(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Unit vectors, float32 [B, D]."""
        with torch.inference_mode():
            pixels = self.processor(images=list(images), return_tensors="pt")["pixel_values"]
            return _unit(self.model.get_image_features(pixel_values=pixels))

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors, float32 [B, D]."""
        with torch.inference_mode():
            tokens = self.tokenizer(
                list(texts), padding="max_length", truncation=True, max_length=self.context, return_tensors="pt"
            )
            return _unit(self.model.get_text_features(input_ids=tokens["input_ids"]))


def read_pixels(path: Path) -> Image.Image:
    """An image as such scripts read it; DICOM with the first window, applied by pydicom."""
    if path.suffix != ".dcm":
        return Image.open(path).convert("RGB")
    from pydicom import dcmread
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

    data = dcmread(path)
    pixels = apply_voi_lut(apply_modality_lut(data.pixel_array, data), data).astype(np.float32)
    scaled = (pixels - pixels.min()) / max(float(np.ptp(pixels)), 1.0) * 255
    return Image.fromarray(scaled.astype(np.uint8)).convert("RGB")


def _load_tokenizer(checkpoint: Path) -> Any:
    try:
        return AutoTokenizer.from_pretrained(checkpoint)
    except ValueError:  # SigLIP's class needs the SentencePiece model, which the small files lack
        return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
            tokenizer_file=str(checkpoint / "tokenizer.json"), pad_token="</s>"
        )


def _unit(features: Any) -> NDArray[np.float32]:
    tensor = features if isinstance(features, torch.Tensor) else features.pooler_output
    unit: NDArray[np.float32] = torch.nn.functional.normalize(tensor, dim=-1).numpy()
    return unit


def _row(study: Study, image_id: str, view: str) -> tuple[str, ...]:
    return study.study_id, image_id, view, study.report.findings, study.report.impression, study.mesh
