"""Encoding with a model bundle: images and texts become unit vectors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.errors import InvalidRequest
from retrieval.imaging.preprocess import ImagePreprocessor
from retrieval.model.bundle import IMAGE_GRAPH, TEXT_GRAPH, TOKENIZER, ModelBundle, Tokenization
from retrieval.model.session import OrtSession
from retrieval.model.tokenize import TextTokenizer

TEXT_BATCH = 32
"""Texts that are encoded in one run."""

# A tower that pads to the longest text of a batch also computes the padding of the shorter ones, and a findings section
# is five times as long as an impression. So a batch holds texts of similar length.
_LENGTH_RATIO = 1.5

T = TypeVar("T")


class Encoder:
    """Encodes with one bundle on one device. Sessions open at first use. Safe from several threads."""

    def __init__(self, bundle: ModelBundle, *, device: str = "auto", threads: int = 0) -> None:
        """Encode with `bundle` on `device` (`auto`, `cpu` or `cuda`) with `threads` threads (0: one per core)."""
        self.bundle = bundle
        self.preprocess = ImagePreprocessor(bundle.manifest.preprocessing)
        self._is_warm = False
        self._image_session = _BuiltOnce(
            lambda: OrtSession(bundle.path(IMAGE_GRAPH), device=device, threads=threads),
        )
        self._text_session = _BuiltOnce(lambda: OrtSession(bundle.path(TEXT_GRAPH), device=device, threads=threads))
        self._tokenizer = _BuiltOnce(lambda: TextTokenizer(bundle.path(TOKENIZER), self._tokenization()))

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self.bundle.manifest.dim

    @property
    def image_session(self) -> OrtSession:
        """The image tower."""
        return self._image_session.get()

    @property
    def text_session(self) -> OrtSession:
        """The text tower.

        Raises:
            InvalidRequest: the bundle has none.
        """
        self._tokenization()
        return self._text_session.get()

    @property
    def tokenizer(self) -> TextTokenizer:
        """The tokenizer of the text tower.

        Raises:
            InvalidRequest: the bundle has no text tower.
        """
        return self._tokenizer.get()

    def warm_up(self) -> None:
        """Open the sessions and run each once, so that the first request is not slow. A second call does nothing."""
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
        """Embeddings of `texts`: float32 [B, D], unit norm, in order. Longer texts are truncated at the context length."""
        texts = list(texts)
        embeddings = np.empty((len(texts), self.dim), dtype=np.float32)
        for batch in self._text_batches(texts):
            tokens = self.tokenizer([texts[number] for number in batch])
            embeddings[batch] = self.text_session.run("text_embeds", tokens)
        return embeddings

    def _text_batches(self, texts: Sequence[str]) -> Iterator[list[int]]:
        """Positions of all `texts` in batches: texts of similar length together if a batch is padded to its longest text."""
        numbers = range(len(texts))
        by_length = bool(texts) and self.tokenizer.settings.padding == "longest"
        batch: list[int] = []
        for number in sorted(numbers, key=lambda number: len(texts[number])) if by_length else numbers:
            too_long = by_length and batch and len(texts[number]) > _LENGTH_RATIO * len(texts[batch[0]])
            if too_long or len(batch) == TEXT_BATCH:
                yield batch
                batch = []
            batch.append(number)
        if batch:
            yield batch

    def _tokenization(self) -> Tokenization:
        if self.bundle.manifest.tokenization is None:
            raise InvalidRequest(f"the model {self.bundle.name} has no text tower; search by image or study instead")
        return self.bundle.manifest.tokenization


class _BuiltOnce(Generic[T]):
    """A value that is built at first use. Two threads never build it twice; `functools.cached_property` would."""

    def __init__(self, build: Callable[[], T]) -> None:
        self._build = build
        self._lock = threading.Lock()
        self._value: T | None = None

    def get(self) -> T:
        """The value. An exception of `build` is raised, and the next call builds again."""
        with self._lock:
            if self._value is None:
                self._value = self._build()
            return self._value
