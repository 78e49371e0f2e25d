"""The searches of one request: each runs when its turn comes, with the model that shall answer, and is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar import Request

from retrieval.imaging.decoder_pool import Prepared, decoders
from retrieval.search.hits import SearchResult
from retrieval.search.query import Query
from service.access.audit import AuditLog
from service.api.schemas import SearchDocument
from service.experiments.choice import SearchChoice, ShownResult
from service.load.permits import SearchPermits


@dataclass(frozen=True, slots=True)
class Searches:
    """What a route that searches asks for, as one: of several dependencies Litestar resolves each in a task of its own."""

    request: Request[Any, Any, Any]
    choice: SearchChoice
    permits: SearchPermits
    decode_permits: SearchPermits
    audit: AuditLog

    async def answer(self, query: Query, model: str | None, **facts: str) -> SearchDocument:
        """What `query` finds, recorded with `facts` in the audit log.

        Raises:
            RetrievalError: as `answer_batch`.
        """

        return (await self.answer_batch([query], model, **facts))[0]

    async def answer_batch(self, queries: Sequence[Query], model: str | None, **facts: str) -> list[SearchDocument]:
        """What each of `queries` finds, recorded as by `answer`; they are encoded together.

        Raises:
            RetrievalError: as `SearchChoice.search`, `AuditLog.search` and `SearchPermits.run`, if any of them cannot be
                answered.
        """

        prepared = await self.prepare(queries, model)

        def search() -> Sequence[ShownResult]:
            results = self.choice.search_batch(model, lambda retriever: retriever.search_batch(queries, prepared))
            for query, result in zip(queries, results, strict=True):
                self.audit.search(self.request, result, kind=kind_of(query), k=query.k, **facts)
            return results

        results = await self.permits.run(search)
        self.permits.note(*results)
        return [search_document(result) for result in results]

    async def prepare(
        self, queries: Sequence[Query], model: str | None, *, name: str = "the image", side: int = 0
    ) -> list[Prepared | None]:
        """The images of `queries`, decoded for the model or models that shall answer; None where a query has none.

        Decoding has its own turns, so that searches by words do not wait for images. `name` and `side` are as in
        `DecoderPool.prepare`.

        Raises:
            RetrievalError: as `DecoderPool.prepare`, `Query.require_valid`, `Catalog.retriever` and `SearchPermits.run`.
        """
        if all(query.image is None for query in queries):
            return [None for _ in queries]

        def prepare() -> list[Prepared | None]:
            for query in queries:
                query.require_valid()
            wanted = [retriever.encoder.preprocess.settings for retriever in self.choice.retrievers(model)]
            require_wanted = self.decode_permits.require_wanted
            prepared: list[Prepared | None] = []
            for query in queries:
                require_wanted()
                prepared.append(
                    None
                    if query.image is None
                    else decoders.prepare(query.image, wanted, name=name, side=side, require_wanted=require_wanted)
                )
            return prepared

        return await self.decode_permits.run(prepare)


def kind_of(query: Query) -> str:
    """What a query brings, for the audit log: `text`, `image`, `study`, `like`, or several joined by `+`."""
    return "+".join(name for name in ("text", "image", "study", "like") if getattr(query, name))


def search_document(result: SearchResult) -> SearchDocument:
    """The result as the document that goes over the wire; the command line prints the same one, without a `search_id`."""
    return msgspec.convert(result, SearchDocument, from_attributes=True)
