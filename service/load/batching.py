"""Texts and images of concurrent requests, encoded together."""

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
"""Told of each run: the tower, how many images or texts, and the seconds it took."""
Items = TypeVar("Items", bound=Sized)


def ignore_batch(tower: Tower, size: int, seconds: float) -> None:
    """The observer of those who do not measure."""


class BatchingEncoder(Encoder):
    """An encoder that runs the model in one thread at a time, on all that came in while the last run lasted.

    Nobody waits for company: the first request runs at once, and those that arrive meanwhile are the next batch. A batch
    gives the vectors that each request would get alone, and one that fails is run again request by request.

    Texts that were asked not long ago are not encoded again: who steers a search sends the same words with other filters.
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
        """Encode with `bundle`, at most `limit` texts or images of several requests at once.

        The last `remember` different texts that came one at a time are kept in memory, with their vectors.
        """
        super().__init__(bundle, device=device, threads=threads)
        if bundle.manifest.precision == "int8":
            limit = 1  # int8 takes its scale from all activations of a run, so neighbours would change the answer
        turns = _Turns()
        self._texts: _Batcher[list[str]] = _Batcher(turns, "text", super().encode_texts, _join_texts, limit, observe)
        self._pixels: _Batcher[FloatArray] = _Batcher(
            turns, "image", super().encode_pixels, np.concatenate, limit, observe
        )
        self._remembered = lru_cache(remember)(self._encode_text)

    def encode_pixels(self, pixel_values: FloatArray) -> FloatArray:
        """See `Encoder.encode_pixels`."""
        return self._pixels.encode(pixel_values)

    def encode_texts(self, texts: Iterable[str]) -> FloatArray:
        """See `Encoder.encode_texts`. What is returned for one text cannot be written to, since others get it, too."""
        texts = list(texts)
        return self._remembered(texts[0]) if len(texts) == 1 else self._texts.encode(texts)

    def _encode_text(self, text: str) -> FloatArray:
        embedding = self._texts.encode([text]).copy()  # it is a part of its batch, which would be kept whole
        embedding.flags.writeable = False
        return embedding


def _join_texts(parts: Sequence[list[str]]) -> list[str]:
    return list(chain.from_iterable(parts))


class _Turns:
    """Lets one thread at a time run the model: side by side, its towers would share the same cores."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.taken = False


@dataclass(eq=False, slots=True)
class _Ticket(Generic[Items]):
    """What one request wants encoded, and what came of it."""

    items: Items
    embeddings: FloatArray | None = None
    error: Exception | None = None

    @property
    def done(self) -> bool:
        return self.embeddings is not None or self.error is not None


class _Batcher(Generic[Items]):
    """One tower's queue. A request's own thread runs the batch it finds when its turn comes; there is no other thread."""

    def __init__(
        self,
        turns: _Turns,
        tower: Tower,
        encode: Callable[[Items], FloatArray],
        join: Callable[[Sequence[Items]], Any],
        limit: int,
        observe: BatchObserver,
    ) -> None:
        self._turns = turns
        self._tower = tower
        self._encode = encode
        self._join = join
        self._limit = limit
        self._observe = observe
        self._waiting: deque[_Ticket[Items]] = deque()

    def encode(self, items: Items) -> FloatArray:
        """Embeddings of `items`: float32 [len(items), D], in order."""
        ticket = _Ticket(items)
        with self._turns.changed:
            self._waiting.append(ticket)
        while batch := self._next_batch(ticket):
            try:
                self._run(batch)
            finally:
                with self._turns.changed:
                    self._turns.taken = False
                    self._turns.changed.notify_all()
        if ticket.error is not None:
            raise ticket.error
        assert ticket.embeddings is not None
        return ticket.embeddings

    def _next_batch(self, ticket: _Ticket[Items]) -> list[_Ticket[Items]]:
        """The longest waiting requests, for this thread to run; empty once `ticket` is done."""
        with self._turns.changed:
            self._turns.changed.wait_for(lambda: ticket.done or not self._turns.taken)
            if ticket.done:
                return []
            self._turns.taken = True
            batch = [self._waiting.popleft()]
            size = len(batch[0].items)
            while self._waiting and size + len(self._waiting[0].items) <= self._limit:
                batch.append(self._waiting.popleft())
                size += len(batch[-1].items)
            return batch

    def _run(self, batch: list[_Ticket[Items]]) -> None:
        try:
            embeddings = self._timed(self._join([ticket.items for ticket in batch]))
        except Exception as error:
            if len(batch) == 1:
                batch[0].error = error
            else:
                for ticket in batch:
                    self._run([ticket])
            return
        start = 0
        for ticket in batch:
            ticket.embeddings = embeddings[start : start + len(ticket.items)]
            start += len(ticket.items)

    def _timed(self, items: Items) -> FloatArray:
        start = time.perf_counter()
        embeddings = self._encode(items)
        self._observe(self._tower, len(items), time.perf_counter() - start)
        return embeddings
