"""The retriever: a query -> encode -> search the engine -> hits with what each signal gave."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np
from PIL import Image

from retrieval.errors import InvalidRequest
from retrieval.imaging.decode import read_file
from retrieval.imaging.decoder_pool import PreparedImage, decoders
from retrieval.index.filters import Filters
from retrieval.index.interface import Collection, FloatArray, SearchRequest
from retrieval.index.schema import DENSE_VECTORS, Scale, require_same_bundle
from retrieval.labels import Mentions, find_mentions
from retrieval.model.bundle import ModelBundle
from retrieval.model.encoder import Encoder
from retrieval.search.cases import Examples, find_examples, images_of
from retrieval.search.hits import SearchResult, StudyRecord, hit_of, interpretation, study_of
from retrieval.search.presets import read_preset
from retrieval.search.query import LIMIT_BATCH, Case, Facet, Query
from retrieval.search.rerank import (
    NONE,
    PRESETS,
    QueryKind,
    QuerySides,
    Rerank,
    Side,
    collapse,
    diversify,
    percentiles,
    plan,
)
from retrieval.search.spelling import in_own_spelling
from retrieval.settings import Device


@dataclass(slots=True)
class _Asked:
    """A query on its way: what it brings, as far as that is known, and the milliseconds of each stage."""

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
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.elapsed_ms[name] = round((time.perf_counter() - start) * 1000, 3)


class Retriever:
    """Searches one collection with the model that built it. Safe from several threads."""

    def __init__(self, encoder: Encoder, collection: Collection, *, home: Path | None = None) -> None:
        """Join an encoder and a collection; `home` is where presets of weights are kept.

        Raises:
            BundleMismatch: the collection was built by another bundle: the vectors would not be comparable.
        """
        require_same_bundle(encoder.bundle, collection.meta, collection.name)
        self.encoder = encoder
        self.collection = collection
        self.model = encoder.bundle.name
        self._home = home
        self._on_close: Callable[[], None] = lambda: None

    @classmethod
    def open(cls, model: str | None = None, index: str | Path | None = None, device: Device | None = None) -> Retriever:
        """Open a retriever on its own; None takes the active model, and `CXR_INDEX` and `CXR_DEVICE` or their defaults.

        Raises:
            UnknownModel: no such bundle. NoCollection: nothing was ingested with it. IndexLocked: in use elsewhere.
        """
        from retrieval.catalog import Catalog  # a catalog opens retrievers, so neither can import the other first
        from retrieval.settings import RetrievalSettings

        given: dict[str, Any] = {"index": str(index) if index else None, "device": device}
        catalog = Catalog(RetrievalSettings(**{name: value for name, value in given.items() if value}))
        try:
            retriever = catalog.retriever(model)
        except BaseException:
            catalog.close()
            raise
        retriever._on_close = catalog.close
        return retriever

    def __enter__(self) -> Retriever:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the index, if this retriever was opened on its own."""
        self._on_close()

    @property
    def bundle(self) -> ModelBundle:
        """The bundle that encodes the queries."""
        return self.encoder.bundle

    def warm_up(self) -> None:
        """Open and run the sessions once."""
        self.encoder.warm_up()

    def search(self, query: Query) -> SearchResult:
        """The cases that `query` asks for.

        Raises:
            InvalidRequest: a value out of range, or a query that brings nothing to look for.
            UnknownFinding: a filter names none. UnknownStudy: the collection holds no such study or image.
            ImageError: the image cannot be used.
        """
        return self.search_batch([query])[0]

    def search_batch(
        self, queries: Sequence[Query], prepared: Sequence[PreparedImage | None] | None = None
    ) -> list[SearchResult]:
        """The answers to 1 to 32 queries, in order; their texts are encoded together, and their images.

        `prepared` are the images of the queries, decoded before; one that lacks this model's square is decoded here.

        Raises:
            InvalidRequest, UnknownFinding, UnknownStudy, ImageError: as `search`, if any query is so.
        """
        if not 1 <= len(queries) <= LIMIT_BATCH:
            raise InvalidRequest(f"a batch must have 1 to {LIMIT_BATCH} queries, found {len(queries)}")
        for query in queries:
            query.require_valid()
        return self.search_validated(queries, prepared)

    def search_validated(
        self, queries: Sequence[Query], prepared: Sequence[PreparedImage | None] | None = None
    ) -> list[SearchResult]:
        """As `search_batch`, for queries whose `require_valid` the caller has called, as the HTTP service does.

        Raises:
            UnknownFinding, UnknownStudy, ImageError: as `search`. InvalidRequest: an unknown preset, or nothing to look for.
        """
        batch = [_Asked(query) for query in queries]
        for asked, image in zip(batch, prepared or (), strict=False):
            if image is not None:
                self._take_prepared(asked, image)
        return self._answer(batch)

    def search_text(
        self, text: str, *, filters: Filters = Filters(), k: int = 10, rerank: Rerank = "signals"
    ) -> SearchResult:
        """The `k` images nearest to a description; see `search`."""
        return self.search(Query(text=text, filters=filters, k=k, rerank=rerank))

    def search_image(
        self,
        image: bytes | Path | Image.Image,
        *,
        filters: Filters = Filters(),
        k: int = 10,
        rerank: Rerank = "signals",
    ) -> SearchResult:
        """The `k` images nearest to an image: the bytes of a file, its path, or a decoded image; see `search`."""
        name = image.name if isinstance(image, Path) else "the image"
        content = read_file(image) if isinstance(image, Path) else image
        asked = _Asked(
            Query(filters=filters, k=k, rerank=rerank, image=content if isinstance(content, bytes) else None)
        )
        asked.query.require_valid()
        asked.image_name = name
        if isinstance(content, Image.Image):
            with asked.stage("decode"):
                asked.pixel_values = self.encoder.preprocess(content)
        return self._answer([asked])[0]

    def search_similar(
        self, study_id: str, *, filters: Filters = Filters(), k: int = 10, rerank: Rerank = "signals"
    ) -> SearchResult:
        """The `k` images most like a stored study, which is itself left out; see `search`."""
        return self.search(Query(study=Case(study_id=study_id), filters=filters, k=k, rerank=rerank))

    def study(self, study_id: str, *, dataset: str | None = None) -> StudyRecord:
        """A stored study.

        Raises:
            UnknownStudy: the collection holds no such study. InvalidRequest: several datasets hold one, and none is named.
        """
        return study_of(images_of(self.collection, Case(study_id=study_id, dataset=dataset)))

    def facet(self, name: str, filters: Filters = Filters()) -> dict[str, int]:
        """Images per value of a keyword field (`present`, `view`, `dataset`, …), most frequent first.

        Raises:
            InvalidRequest: no such field, or filters that no image can obey. UnknownFinding: of neither vocabulary.
        """
        filters.require_valid()
        if name not in get_args(Facet):
            raise InvalidRequest(f"facets: no field {name!r}; expected {', '.join(get_args(Facet))}")
        return self.collection.facet(name, in_own_spelling(filters, self.collection))

    def _answer(self, batch: list[_Asked]) -> list[SearchResult]:
        for asked in batch:
            self._understand(asked)  # before the model runs: what can be refused is refused at once
            if asked.query.image is not None and asked.pixel_values is None:
                wanted = [self.encoder.preprocess.settings]
                self._take_prepared(asked, decoders.prepare(asked.query.image, wanted, name=asked.image_name))
        self._encode(batch)
        return [self._search(asked) for asked in batch]

    def _understand(self, asked: _Asked) -> None:
        query = asked.query
        if query.text and query.interpret:
            asked.mentions = find_mentions(query.text)
        denied = (finding for finding in asked.mentions.denied if finding not in query.filters.none)
        filters = msgspec.structs.replace(query.filters, none=(*query.filters.none, *denied))
        asked.filters = in_own_spelling(filters, self.collection)
        with asked.stage("fetch"):
            asked.examples = find_examples(self.collection, query)

    def _take_prepared(self, asked: _Asked, image: PreparedImage) -> None:
        square = image.squares.get(self.encoder.preprocess.settings)
        if square is not None:
            asked.pixel_values = self.encoder.preprocess.normalize(square)
            asked.image_notes = image.notes
            asked.elapsed_ms["decode"] = round(image.seconds * 1000, 3)

    def _encode(self, batch: list[_Asked]) -> None:
        worded = [asked for asked in batch if asked.query.text is not None]
        pictured = [(asked, asked.pixel_values) for asked in batch if asked.pixel_values is not None]
        start = time.perf_counter()
        if worded:
            texts = self.encoder.encode_texts([str(asked.query.text) for asked in worded])
            for asked, vector in zip(worded, texts, strict=True):
                asked.text_vector = vector
        if pictured:
            images = self.encoder.encode_pixels(np.stack([pixel_values for _, pixel_values in pictured]))
            for (asked, _), vector in zip(pictured, images, strict=True):
                asked.image_vector = vector
        elapsed_ms = round((time.perf_counter() - start) * 1000, 3)
        for asked in batch:
            if asked.text_vector is not None or asked.image_vector is not None:
                asked.elapsed_ms["encode"] = elapsed_ms

    def _search(self, asked: _Asked) -> SearchResult:
        query, filters = asked.query, asked.filters
        sides = self._sides(asked)
        orders = bool(query.diversity) or query.collapse != "none"
        request = SearchRequest(
            filters=filters,
            limit=max(query.k, query.candidates) if orders else query.k,
            candidates=query.candidates,
            exclude=asked.examples.exclude,
            vectors=("image",) if query.diversity else (),
        )
        calibration = self.collection.meta.calibration
        request = plan(sides, calibration, request, rerank=self._rerank(query.rerank), match=query.match)
        with asked.stage("search"):
            found = self.collection.search(request)
        with asked.stage("rerank"):
            shown = collapse(found, query.collapse)
            scale = calibration.get("image/image", Scale(zero=0.0, one=1.0))
            collapsed = {hit.point_id: count for hit, count in shown}
            hits = diversify([hit for hit, _ in shown], query.diversity, query.k, scale)
        with asked.stage("facets"):
            facets = {str(name): self.collection.facet(name, filters) for name in query.facets}
        stages = {name: elapsed for name, elapsed in asked.elapsed_ms.items() if name != "facets" or query.facets}
        return SearchResult(
            model=self.model,
            collection=self.collection.name,
            bundle_id=self.bundle.bundle_id,
            interpreted=interpretation(query, filters, request, asked.mentions, asked.image_notes),
            hits=[
                hit_of(request, hit, shares, collapsed[hit.point_id])
                for hit, shares in zip(hits, percentiles(sides, calibration, hits), strict=True)
            ],
            timings_ms=stages,
            facets=facets,
        )

    def _rerank(self, rerank: Rerank) -> Rerank:
        """`rerank` with a saved preset's name replaced by its weights, read anew each time."""
        if isinstance(rerank, dict) or rerank in (NONE, *PRESETS) or self._home is None:
            return rerank
        return read_preset(self._home, rerank)

    def _sides(self, asked: _Asked) -> QuerySides:
        """What the query brings to each vector; a text or a report compares with reports better than an image does."""
        vectors, like, unlike = {}, asked.examples.like, asked.examples.unlike
        for name in DENSE_VECTORS if self.bundle.has_text else ("image",):
            liked: list[tuple[QueryKind, FloatArray]] = [
                (_kind(name), c.vectors[name]) for c in like if name in c.vectors
            ]
            if asked.text_vector is not None:
                liked.append(("text", asked.text_vector))
            if asked.image_vector is not None and (name == "image" or not liked):
                liked.insert(0, ("image", asked.image_vector))
            if liked:
                vectors[name] = Side.of(liked, [(_kind(name), c.vectors[name]) for c in unlike if name in c.vectors])
        if "image" not in vectors:
            raise InvalidRequest("nothing to look for: give a text, an image, a study or a case that is liked")
        terms = {
            name: tuple(dict.fromkeys([*asked.mentions.asked, *(term for case in like for term in case.payload[name])]))
            for name in ("mesh", "problems")
        }
        return QuerySides(vectors, terms, words=asked.query.text or "")


def _kind(vector: str) -> QueryKind:
    return "image" if vector == "image" else "text"
