"""Encodes texts and images of concurrent requests together."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence, Sized
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from retrieval.model.bundle import ModelBundle
from retrieval.model.encoder import Encoder

FloatArray = NDArray[np.float32]
Tower = Literal["image", "text"]
BatchObserver = Callable[[Tower, int, float], None]
"""Called after each run with the tower, the number of images or texts, and the seconds that it took."""
Items = TypeVar("Items", bound=Sized)


def ignore_batch(tower: Tower, size: int, seconds: float) -> None:
    """An observer that does nothing."""


class BatchingEncoder(Encoder):
    """An encoder that runs the model in one thread at a time, and batches the requests that arrive during a run.

    No request waits for a batch to fill: the first one runs at once, and those that arrive meanwhile form the next batch.
    Each request gets the same vectors as if it ran alone. If a batch fails, its requests run again one by one.

    The vectors of recent texts are cached: users often repeat a text with other filters.
    """

    def __init__(
        self,
        bundle: ModelBundle,
        *,
        device: str = "auto",
        threads: int = 0,
        limit: int = 32,
        remember: int = 0,
        observe: BatchObserver = ignore_batch,
    ) -> None:
        """Encode with `bundle`, in batches of at most `limit` texts or images.

        The vectors of the last `remember` different single texts stay in memory.
        """
        super().__init__(bundle, device=device, threads=threads)
        if bundle.manifest.precision == "int8":
            limit = 1  # int8 scales by all activations of a run, so other requests would change the vectors
        lock = _ModelLock()
        self._texts: _Batcher[list[str]] = _Batcher(lock, "text", super().encode_texts, _join_texts, limit, observe)
        self._pixels: _Batcher[FloatArray] = _Batcher(
            lock, "image", super().encode_pixels, np.concatenate, limit, observe
        )
        self._remembered = lru_cache(remember)(self._encode_text)

    def encode_pixels(self, pixel_values: FloatArray) -> FloatArray:
        """See `Encoder.encode_pixels`."""
        return self._pixels.encode(pixel_values)

    def encode_texts(self, texts: Iterable[str]) -> FloatArray:
        """See `Encoder.encode_texts`. The array of a single text is read-only, because other requests share it."""
        texts = list(texts)
        return self._remembered(texts[0]) if len(texts) == 1 else self._texts.encode(texts)

    def _encode_text(self, text: str) -> FloatArray:
        embedding = self._texts.encode([text]).copy()  # a view would keep the whole batch in memory
        embedding.flags.writeable = False
        return embedding


def _join_texts(parts: Sequence[list[str]]) -> list[str]:
    return list(chain.from_iterable(parts))


class _ModelLock:
    """Lets one thread at a time run the model: both towers at once would compete for the same cores."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.taken = False


@dataclass(eq=False, slots=True)
class _PendingRequest(Generic[Items]):
    """The items of one request, and then their embeddings or an error."""

    items: Items
    embeddings: FloatArray | None = None
    error: Exception | None = None

    @property
    def done(self) -> bool:
        return self.embeddings is not None or self.error is not None


class _Batcher(Generic[Items]):
    """The queue of one tower. The thread whose turn it is runs the next batch; there is no worker thread."""

    def __init__(
        self,
        lock: _ModelLock,
        tower: Tower,
        encode: Callable[[Items], FloatArray],
        join: Callable[[Sequence[Items]], Any],
        limit: int,
        observe: BatchObserver,
    ) -> None:
        self._lock = lock
        self._tower = tower
        self._encode = encode
        self._join = join
        self._limit = limit
        self._observe = observe
        self._waiting: deque[_PendingRequest[Items]] = deque()

    def encode(self, items: Items) -> FloatArray:
        """Embeddings of `items`: float32 [len(items), D], in order."""
        request = _PendingRequest(items)
        with self._lock.changed:
            self._waiting.append(request)
        while batch := self._next_batch(request):
            try:
                self._run(batch)
            finally:
                with self._lock.changed:
                    self._lock.taken = False
                    self._lock.changed.notify_all()
        if request.error is not None:
            raise request.error
        assert request.embeddings is not None
        return request.embeddings

    def _next_batch(self, request: _PendingRequest[Items]) -> list[_PendingRequest[Items]]:
        """The requests that have waited longest, for this thread to run; empty once `request` is done."""
        with self._lock.changed:
            self._lock.changed.wait_for(lambda: request.done or not self._lock.taken)
            if request.done:
                return []
            self._lock.taken = True
            batch = [self._waiting.popleft()]
            size = len(batch[0].items)
            while self._waiting and size + len(self._waiting[0].items) <= self._limit:
                batch.append(self._waiting.popleft())
                size += len(batch[-1].items)
            return batch

    def _run(self, batch: list[_PendingRequest[Items]]) -> None:
        try:
            embeddings = self._timed(self._join([request.items for request in batch]))
        except Exception as error:
            if len(batch) == 1:
                batch[0].error = error
            else:
                for request in batch:
                    self._run([request])
            return
        start = 0
        for request in batch:
            request.embeddings = embeddings[start : start + len(request.items)]
            start += len(request.items)

    def _timed(self, items: Items) -> FloatArray:
        start = time.perf_counter()
        embeddings = self._encode(items)
        self._observe(self._tower, len(items), time.perf_counter() - start)
        return embeddings
