"""`/health`: is the process alive, and could it answer a search?"""

from __future__ import annotations

from anyio.to_thread import run_sync
from litestar import Controller, get
from litestar.di import NamedDependency

from retrieval.catalog import Catalog
from retrieval.errors import RetrievalError
from service.examples import answer_examples
from service.problems import NotReady, problem_responses
from service.schemas import HealthDocument


class HealthController(Controller):
    """Liveness and readiness."""

    path = "/health"
    tags = ("health",)

    @get(
        "/live",
        operation_id="checkLive",
        summary="Is the process alive?",
        sync_to_thread=False,
        responses=answer_examples(HealthDocument, "It is.", {"status": "alive"}),
    )
    def check_live(self) -> HealthDocument:
        """Answers whenever the event loop turns; restart the service when it does not."""
        return HealthDocument(status="alive")

    @get(
        "/ready",
        operation_id="checkReady",
        summary="Could a search be answered?",
        responses={
            **answer_examples(
                HealthDocument,
                "It could.",
                {
                    "status": "ready",
                    "model": "phantom-siglip",
                    "collection": "cxr_phantom-siglip",
                    "bundle_id": "3f9a2c417be05d68",
                },
            ),
            **problem_responses(not_ready_503="no_collection: no model is active; run `cxr use MODEL`"),
        },
    )
    async def check_ready(self, catalog: NamedDependency[Catalog]) -> HealthDocument:
        """Whether a model is active, its bundle is the one its collection was built with, and the engine answers."""
        # Not under a search permit: a busy service is still a ready one.
        return await run_sync(_check_ready, catalog)


def _check_ready(catalog: Catalog) -> HealthDocument:
    try:
        retriever = catalog.retriever()
        retriever.facet("view")  # the cheapest question that the engine itself must answer
    except RetrievalError as error:
        raise NotReady((f"{error.code}: {error}",)) from error
    return HealthDocument(
        status="ready",
        model=retriever.model,
        collection=retriever.collection.name,
        bundle_id=retriever.bundle.bundle_id,
    )
