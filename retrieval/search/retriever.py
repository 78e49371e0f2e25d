"""The retriever: encodes a query, searches the index, and returns hits with the part of each signal in their score."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

import msgspec
import numpy as np
from PIL import Image

from retrieval.errors import InvalidRequest
from retrieval.imaging.decode import read_file
from retrieval.imaging.decoder_pool import PreparedImage, decoders
from retrieval.index.deadline import one_search
from retrieval.index.filters import Filters
from retrieval.index.interface import Collection
from retrieval.index.schema import DENSE_VECTORS, Scale, require_same_bundle
from retrieval.index.search_request import SearchRequest
from retrieval.labels import find_mentions
from retrieval.model.bundle import ModelBundle
from retrieval.model.encoder import Encoder
from retrieval.search.cases import find_examples, images_of
from retrieval.search.hits import SearchResult, StudyRecord, hit_of, interpretation, study_of
from retrieval.search.query import LIMIT_BATCH, Case, Facet, Query
from retrieval.search.query_state import QueryState
from retrieval.search.query_vectors import QueryVectors, collect_vectors
from retrieval.search.rerank import NONE, PRESETS, Rerank, collapse, diversify, percentiles, plan
from retrieval.search.saved_presets import read_preset
from retrieval.search.spelling import use_collection_spelling


class Retriever:
    """Searches one collection with the model that built it. Safe from several threads."""

    def __init__(
        self,
        encoder: Encoder,
        collection: Collection,
        *,
        home: Path | None = None,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        """Search `collection` with `encoder`; `home` holds saved presets of weights, `on_close` is called by `close`.

        Raises:
            BundleMismatch: another bundle built the collection, so that the vectors would not be comparable.
        """
        require_same_bundle(encoder.bundle, collection.meta, collection.name)
        self.encoder = encoder
        self.collection = collection
        self.model = encoder.bundle.name
        self._home = home
        self._on_close = on_close

    def __enter__(self) -> Retriever:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the index, if `open_retriever` opened this retriever; a `Catalog` closes its own."""
        self._on_close()

    @property
    def bundle(self) -> ModelBundle:
        """The bundle that encodes the queries."""
        return self.encoder.bundle

    def warm_up(self) -> None:
        """Open and run the sessions once."""
        self.encoder.warm_up()

    def search(self, query: Query) -> SearchResult:
        """The cases that match `query`.

        Raises:
            InvalidRequest: a value out of range, or a query without anything to look for.
            UnknownFinding: in a filter. UnknownStudy: the collection has no such study or image.
            ImageError: the image cannot be used.
        """
        return self.search_batch([query])[0]

    def search_batch(
        self, queries: Sequence[Query], prepared: Sequence[PreparedImage | None] | None = None
    ) -> list[SearchResult]:
        """The results of 1 to 32 queries, in order; their texts are encoded together, and their images.

        `prepared` are the images of the queries if they were decoded before; an image that lacks this model's size is
        decoded here.

        Raises:
            InvalidRequest, UnknownFinding, UnknownStudy, ImageError: as `search`, for any query of the batch.
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
            UnknownFinding, UnknownStudy, ImageError: as `search`. InvalidRequest: an unknown preset, or an empty query.
        """
        states = [QueryState(query) for query in queries]
        for state, image in zip(states, prepared or (), strict=False):
            if image is not None:
                self._set_pixels(state, image)
        return self._answer(states)

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
        query = Query(filters=filters, k=k, rerank=rerank, image=content if isinstance(content, bytes) else None)
        query.require_valid()
        state = QueryState(query, image_name=name)
        if isinstance(content, Image.Image):
            with state.measure("decode"):
                state.pixel_values = self.encoder.preprocess(content)
        return self._answer([state])[0]

    def search_similar(
        self, study_id: str, *, filters: Filters = Filters(), k: int = 10, rerank: Rerank = "signals"
    ) -> SearchResult:
        """The `k` images nearest to a stored study, without those of the study itself; see `search`."""
        return self.search(Query(study=Case(study_id=study_id), filters=filters, k=k, rerank=rerank))

    @one_search()
    def study(self, study_id: str, *, dataset: str | None = None) -> StudyRecord:
        """A stored study.

        Raises:
            UnknownStudy: the collection has no such study. InvalidRequest: several datasets have one, and none is named.
        """
        return study_of(images_of(self.collection, Case(study_id=study_id, dataset=dataset)))

    @one_search()
    def facet(self, name: str, filters: Filters = Filters()) -> dict[str, int]:
        """Images by value of a keyword field (`present`, `view`, `dataset`, …), most frequent first.

        Raises:
            InvalidRequest: an unknown field, or invalid filters. UnknownFinding: in neither vocabulary.
        """
        filters.require_valid()
        if name not in get_args(Facet):
            raise InvalidRequest(f"facets: no field {name!r}; expected {', '.join(get_args(Facet))}")
        return self.collection.facet(name, use_collection_spelling(filters, self.collection))

    @one_search()
    def _answer(self, states: list[QueryState]) -> list[SearchResult]:
        for state in states:
            self._resolve(state)  # refuses unknown findings and studies before the model runs
            if state.query.image is not None and state.pixel_values is None:
                wanted = [self.encoder.preprocess.settings]
                self._set_pixels(state, decoders.prepare(state.query.image, wanted, name=state.image_name))
        self._encode(states)
        return [self._search(state) for state in states]

    def _resolve(self, state: QueryState) -> None:
        """Set what the collection and the text of the query determine: mentions, filters and examples."""
        query = state.query
        if query.text and query.interpret:
            state.mentions = find_mentions(query.text)
        denied = (finding for finding in state.mentions.denied if finding not in query.filters.none)
        filters = msgspec.structs.replace(query.filters, none=(*query.filters.none, *denied))
        state.filters = use_collection_spelling(filters, self.collection)
        with state.measure("fetch"):
            state.examples = find_examples(self.collection, query)

    def _set_pixels(self, state: QueryState, image: PreparedImage) -> None:
        square = image.squares.get(self.encoder.preprocess.settings)
        if square is not None:
            state.pixel_values = self.encoder.preprocess.normalize(square)
            state.image_notes = image.notes
            state.elapsed_ms["decode"] = round(image.seconds * 1000, 3)

    def _encode(self, states: list[QueryState]) -> None:
        with_text = [state for state in states if state.query.text is not None]
        with_image = [(state, state.pixel_values) for state in states if state.pixel_values is not None]
        start = time.perf_counter()
        if with_text:
            texts = self.encoder.encode_texts([str(state.query.text) for state in with_text])
            for state, vector in zip(with_text, texts, strict=True):
                state.text_vector = vector
        if with_image:
            images = self.encoder.encode_pixels(np.stack([pixel_values for _, pixel_values in with_image]))
            for (state, _), vector in zip(with_image, images, strict=True):
                state.image_vector = vector
        elapsed_ms = round((time.perf_counter() - start) * 1000, 3)
        for state in states:
            if state.text_vector is not None or state.image_vector is not None:
                state.elapsed_ms["encode"] = elapsed_ms

    def _search(self, state: QueryState) -> SearchResult:
        query, filters = state.query, state.filters
        vectors = self._vectors(state)
        reorders = bool(query.diversity) or query.collapse != "none"
        request = SearchRequest(
            filters=filters,
            limit=max(query.k, query.candidates) if reorders else query.k,
            candidates=query.candidates,
            exclude=state.examples.exclude,
            vectors=("image",) if query.diversity else (),
        )
        calibration = self.collection.meta.calibration
        request = plan(vectors, calibration, request, rerank=self._weights(query.rerank), match=query.match)
        with state.measure("search"):
            found = self.collection.search(request)
        with state.measure("rerank"):
            best = collapse(found, query.collapse)
            scale = calibration.get("image/image", Scale(zero=0.0, one=1.0))
            collapsed = {hit.point_id: count for hit, count in best}
            hits = diversify([hit for hit, _ in best], query.diversity, query.k, scale)
        with state.measure("facets"):
            facets = {str(name): self.collection.facet(name, filters) for name in query.facets}
        stages = {name: elapsed for name, elapsed in state.elapsed_ms.items() if name != "facets" or query.facets}
        return SearchResult(
            model=self.model,
            collection=self.collection.name,
            bundle_id=self.bundle.bundle_id,
            interpreted=interpretation(query, filters, request, state.mentions, state.image_notes),
            hits=[
                hit_of(request, hit, shares, collapsed[hit.point_id])
                for hit, shares in zip(hits, percentiles(vectors, calibration, hits), strict=True)
            ],
            timings_ms=stages,
            facets=facets,
        )

    def _weights(self, rerank: Rerank) -> Rerank:
        """`rerank`, with the name of a saved preset replaced by its weights, which are read at each call."""
        if isinstance(rerank, dict) or rerank in (NONE, *PRESETS) or self._home is None:
            return rerank
        return read_preset(self._home, rerank)

    def _vectors(self, state: QueryState) -> QueryVectors:
        like, unlike = state.examples.like, state.examples.unlike
        names = DENSE_VECTORS if self.bundle.has_text else ("image",)
        vectors = collect_vectors(names, like, unlike, text=state.text_vector, image=state.image_vector)
        terms = {
            name: tuple(dict.fromkeys([*state.mentions.asked, *(term for case in like for term in case.payload[name])]))
            for name in ("mesh", "problems")
        }
        return QueryVectors(vectors, terms, words=state.query.text or "")
