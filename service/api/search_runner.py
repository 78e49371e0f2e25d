"""Runs the searches of one request: waits for a place, decodes images, searches, and writes to the audit log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from litestar import Request

from retrieval.imaging.decoder_pool import PreparedImage, decoders
from retrieval.search.query import Query
from service.access.audit import AuditLog
from service.experiments.entities import ShownResult
from service.experiments.routing import ModelRouter
from service.load.permits import Permits


@dataclass(frozen=True, slots=True)
class SearchRunner:
    """Runs the searches of one request. It is one dependency, because Litestar resolves each one in a separate task."""

    request: Request[Any, Any, Any]
    router: ModelRouter
    permits: Permits
    decode_permits: Permits
    audit: AuditLog

    async def answer(self, query: Query, model: str | None, **facts: str) -> ShownResult:
        """The result of `query`; `facts` are added to its entry in the audit log.

        Raises:
            RetrievalError: as `answer_batch`.
        """
        return (await self.answer_batch([query], model, **facts))[0]

    async def answer_batch(self, queries: Sequence[Query], model: str | None, **facts: str) -> list[ShownResult]:
        """The results of `queries`, in order; they are validated here, once, and encoded together.

        Raises:
            RetrievalError: as `require_valid`, `prepare`, `Permits.run`, `ModelRouter.search_batch` and
                `AuditLog.write_search`.
        """
        for query in queries:
            query.require_valid()
        prepared = await self.prepare(queries, model)

        def search() -> list[ShownResult]:
            results = self.router.search_batch(model, lambda retriever: retriever.search_validated(queries, prepared))
            for query, result in zip(queries, results, strict=True):
                self.audit.write_search(self.request, result, kind=kind_of(query), k=query.k, **facts)
            return results

        results = await self.permits.run(search)
        self.permits.add_timings(*results)
        return results

    async def prepare(
        self, queries: Sequence[Query], model: str | None, *, name: str = "the image", preview_size: int = 0
    ) -> list[PreparedImage | None]:
        """The images of `queries`, decoded once for every model that may answer; None for a query without an image.

        Decoding has its own permits, so that searches by text do not wait for images. `name` and `preview_size` are those of
        `DecoderPool.prepare`.

        Raises:
            RetrievalError: as `DecoderPool.prepare`, `Catalog.retriever` and `Permits.run`.
        """
        if all(query.image is None for query in queries):
            return [None for _ in queries]

        def prepare() -> list[PreparedImage | None]:
            wanted = [retriever.encoder.preprocess.settings for retriever in self.router.retrievers(model)]
            raise_if_cancelled = self.decode_permits.raise_if_cancelled
            prepared: list[PreparedImage | None] = []
            for query in queries:
                raise_if_cancelled()
                prepared.append(
                    None
                    if query.image is None
                    else decoders.prepare(
                        query.image, wanted, name=name, preview_size=preview_size, raise_if_cancelled=raise_if_cancelled
                    )
                )
            return prepared

        return await self.decode_permits.run(prepare)


def kind_of(query: Query) -> str:
    """The kind of a query for the audit log: `text`, `image`, `study`, `like`, or several joined by `+`."""
    return "+".join(name for name in ("text", "image", "study", "like") if getattr(query, name))
