"""One query while it is answered."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from retrieval.index.filters import Filters
from retrieval.index.search_request import FloatArray
from retrieval.labels import Mentions
from retrieval.search.cases import Examples
from retrieval.search.query import Query


@dataclass(slots=True)
class QueryState:
    """A query with the results of the stages so far, and the milliseconds that each stage took.

    `pixel_values` is float32 [3, H, W]; `text_vector` and `image_vector` are float32 [D], unit norm.
    """

    query: Query
    image_name: str = "the image"
    mentions: Mentions = Mentions()
    filters: Filters = Filters()
    examples: Examples = Examples()
    pixel_values: FloatArray | None = None
    image_notes: tuple[str, ...] = ()
    text_vector: FloatArray | None = None
    image_vector: FloatArray | None = None
    elapsed_ms: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Record the time of the block as that of `stage`."""
        start = time.perf_counter()
        yield
        self.elapsed_ms[stage] = round((time.perf_counter() - start) * 1000, 3)
