"""`/health`: is the process alive, and could it answer a search?"""

from __future__ import annotations

from typing import Any

from litestar import Controller, Request, get
from litestar.di import NamedDependency

from retrieval.catalog import Catalog
from retrieval.errors import DeviceUnavailable, IndexFailure, RetrievalError
from retrieval.model.encoder import Encoder
from retrieval.settings import Device
from service.access.audit import AuditLog
from service.access.scopes import UNCOUNTED
from service.api.examples import answer_examples
from service.api.problems import problem_responses
from service.api.schemas import HealthDocument
from service.load.drain import WHILE_DRAINING, Drain
from service.load.permits import SearchPermits
from service.refusals import NotReady


class HealthController(Controller):
    """Liveness and readiness."""

    path = "/health"
    tags = ("health",)
    security = ({},)
    # Free of the rate limit: behind a proxy all who have no key count as one, and could make the probes fail.
    opt = UNCOUNTED | {WHILE_DRAINING: True}

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
    async def check_ready(
        self,
        request: Request[Any, Any, Any],
        catalog: NamedDependency[Catalog],
        audit: NamedDependency[AuditLog],
        drain: NamedDependency[Drain],
        probe_permits: NamedDependency[SearchPermits],
    ) -> HealthDocument:
        """Whether a model is active, its bundle is the one its collection was built with, and the engine answers.

        A model that runs elsewhere than on the device that was asked for is not ready, and neither is a service that
        was told to stop.

        What balances load has no key, so none is needed; who has none is told neither names nor messages where keys are
        in use.
        """
        try:
            drain.require_open()
            # Not under a search permit: a busy service is still a ready one.
            document = await probe_permits.run(_check_ready, catalog, audit)
        except RetrievalError as error:
            known = "read" in request.auth.scopes
            raise NotReady((f"{error.code}: {error}" if known else error.code,)) from error
        return document if "read" in request.auth.scopes else HealthDocument(status="ready")


def require_device(encoder: Encoder, device: Device) -> None:
    """Compare the device that was asked for with the one that each tower runs on now; opens towers that are not open.

    Raises:
        DeviceUnavailable: onnxruntime runs one elsewhere. It does so, and only prints a line, when a run on CUDA fails.
    """
    towers = {"image": encoder.image_session}
    if encoder.bundle.has_text:
        towers["text"] = encoder.text_session
    for name, session in towers.items():
        used = "cuda" if "CUDAExecutionProvider" in session.providers else "cpu"
        if device not in ("auto", used):
            raise DeviceUnavailable(f"device={device} was asked for, but the {name} tower runs on {session.providers}")


def _check_ready(catalog: Catalog, audit: AuditLog) -> HealthDocument:
    retriever = catalog.retriever()
    require_device(retriever.encoder, catalog.settings.device)
    try:
        retriever.facet("view")  # the cheapest question that the engine itself must answer
    except RetrievalError:
        raise
    except Exception as error:  # Edge raises types of its own, and of Python's
        raise IndexFailure(f"{retriever.collection.name} does not answer: {error}") from error
    audit.check()
    return HealthDocument(
        status="ready",
        model=retriever.model,
        collection=retriever.collection.name,
        bundle_id=retriever.bundle.bundle_id,
    )
