"""Concurrent calls of a batching encoder, and the batches that it ran."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.model.bundle import ModelBundle
from retrieval.model.encoder import Encoder
from service.load.batching import BatchingEncoder, Tower
from tests.service.live import until


class BatchRecorder:
    """Holds the first call in the model until all others wait, and records the batches."""

    def __init__(self, bundle: ModelBundle, *, limit: int = 32, remember: int = 0) -> None:
        self.batches: list[tuple[Tower, int]] = []
        self.encoder = BatchingEncoder(
            bundle, device="cpu", threads=1, limit=limit, remember=remember, observe=self._observe
        )
        self.encoder.warm_up()
        self.batches.clear()
        self._entered, self._gate = threading.Event(), threading.Event()
        for session in (self.encoder.image_session, self.encoder.text_session):
            self._hold(session)

    def _observe(self, tower: Tower, size: int, seconds: float) -> None:
        assert seconds >= 0
        self.batches.append((tower, size))

    def _hold(self, session: Any) -> None:
        run = session.run

        def held(*args: Any) -> Any:
            self._entered.set()
            assert self._gate.wait(20)
            return run(*args)

        session.run = held

    def encode(self, calls: list[Callable[[Encoder], NDArray[np.float32]]]) -> list[NDArray[np.float32] | Exception]:
        """The result or error of each call; all but the first wait for the model together."""
        results: dict[int, NDArray[np.float32] | Exception] = {}

        def run(number: int) -> None:
            try:
                results[number] = calls[number](self.encoder)
            except Exception as error:
                results[number] = error

        threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
        threads[0].start()
        assert self._entered.wait(20)
        for count, thread in enumerate(threads[1:], start=1):
            thread.start()
            until(lambda count=count: self._have_arrived(count, results))
        self._gate.set()
        for thread in threads:
            thread.join(20)
        return [results[number] for number in range(len(calls))]

    def _have_arrived(self, count: int, results: dict[int, Any]) -> bool:
        """Whether `count` calls wait behind the first or have failed already."""
        waiting = len(self.encoder._texts._waiting) + len(self.encoder._pixels._waiting)
        return waiting + len(results) >= count


def of_text(text: str) -> Callable[[Encoder], NDArray[np.float32]]:
    return lambda encoder: encoder.encode_texts([text])


def of_image(image: Image.Image) -> Callable[[Encoder], NDArray[np.float32]]:
    return lambda encoder: encoder.encode_images([image])


def some_images(count: int) -> list[Image.Image]:
    """Images with different ranges of grey values."""
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 20 + 40 * n, (40, 50), dtype=np.uint8)) for n in range(count)]
