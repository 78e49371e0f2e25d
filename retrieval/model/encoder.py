"""A model bundle at work: images and texts -> unit vectors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.errors import InvalidRequest
from retrieval.imaging.preprocess import ImagePreprocessor
from retrieval.model.bundle import IMAGE_GRAPH, TEXT_GRAPH, TOKENIZER, ModelBundle
from retrieval.model.session import OrtSession
from retrieval.model.tokenize import TextTokenizer

TEXT_BATCH = 32
# A tower that runs at the length of a batch's longest text works on the padding of the others; a findings section is
# five times as long as an impression.
_LENGTH_RATIO = 1.5


class Encoder:
    """Encodes with one bundle on one device. Sessions open at first use; calls are safe from several threads."""

    def __init__(self, bundle: ModelBundle, *, device: str = "auto", threads: int = 0) -> None:
        self.bundle = bundle
        self._device = device
        self._threads = threads
        self.preprocess = ImagePreprocessor(bundle.manifest.preprocessing)
        self._is_warm = False

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self.bundle.manifest.dim

    @cached_property
    def image_session(self) -> OrtSession:
        """The image tower."""
        return OrtSession(self.bundle.path(IMAGE_GRAPH), device=self._device, threads=self._threads)

    @cached_property
    def text_session(self) -> OrtSession:
        """The text tower.

        Raises:
            InvalidRequest: the bundle has none.
        """
        self._require_text()
        return OrtSession(self.bundle.path(TEXT_GRAPH), device=self._device, threads=self._threads)

    @cached_property
    def tokenizer(self) -> TextTokenizer:
        """The tokenizer that belongs to the text tower.

        Raises:
            InvalidRequest: the bundle has none.
        """
        self._require_text()
        settings = self.bundle.manifest.tokenization
        assert settings is not None
        return TextTokenizer(self.bundle.path(TOKENIZER), settings)

    def warm_up(self) -> None:
        """Open the sessions and run each once, so that the first request is not the slow one; a second call does nothing."""
        if self._is_warm:
            return
        size = self.preprocess.size
        self.encode_images([Image.new("L", (size, size))])
        if self.bundle.has_text:
            self.encode_texts(["chest"])
        self._is_warm = True

    def encode_images(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Embeddings of `images`: float32 [B, D], unit norm, in order."""
        if not images:
            return np.empty((0, self.dim), dtype=np.float32)
        return self.encode_pixels(self.preprocess.batch(images))

    def encode_pixels(self, pixel_values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings of preprocessed images (float32 [B, 3, H, W]): float32 [B, D], unit norm."""
        return self.image_session.run("image_embeds", {"pixel_values": pixel_values})

    def encode_texts(self, texts: Iterable[str]) -> NDArray[np.float32]:
        """Embeddings of `texts`: float32 [B, D], unit norm, in order. Longer texts are cut at the context length."""
        texts = list(texts)
        embeddings = np.empty((len(texts), self.dim), dtype=np.float32)
        for batch in self._text_batches(texts):
            tokens = self.tokenizer([texts[number] for number in batch])
            embeddings[batch] = self.text_session.run("text_embeds", tokens)
        return embeddings

    def _text_batches(self, texts: Sequence[str]) -> Iterator[list[int]]:
        """The numbers of all `texts`, in batches; of like length where a batch runs at the length of its longest."""
        numbers = range(len(texts))
        cut_by_length = bool(texts) and self.tokenizer.settings.padding == "longest"
        batch: list[int] = []
        for number in sorted(numbers, key=lambda number: len(texts[number])) if cut_by_length else numbers:
            too_long = cut_by_length and batch and len(texts[number]) > _LENGTH_RATIO * len(texts[batch[0]])
            if too_long or len(batch) == TEXT_BATCH:
                yield batch
                batch = []
            batch.append(number)
        if batch:
            yield batch

    def _require_text(self) -> None:
        if not self.bundle.has_text:
            raise InvalidRequest(f"the model {self.bundle.name} has no text tower; search by image or study instead")
