"""`/health`: liveness and readiness."""

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
from service.api.problems import problem_responses, public_message
from service.api.schemas import HealthDocument
from service.load.drain import WHILE_DRAINING, Drain
from service.load.permits import Permits
from service.refusals import NotReady


class HealthController(Controller):
    """Liveness and readiness."""

    path = "/health"
    tags = ("health",)
    security = ({},)
    # Without a rate limit: behind a proxy, all clients without a key share one limit, and could make the probes fail.
    opt = UNCOUNTED | {WHILE_DRAINING: True}

    @get(
        "/live",
        operation_id="checkLive",
        summary="Liveness",
        sync_to_thread=False,
        responses=answer_examples(HealthDocument, "The process is alive.", {"status": "alive"}),
    )
    def check_live(self) -> HealthDocument:
        """Answers as long as the event loop runs. Restart the service if it does not answer."""
        return HealthDocument(status="alive")

    @get(
        "/ready",
        operation_id="checkReady",
        summary="Readiness",
        responses={
            **answer_examples(
                HealthDocument,
                "The service can answer searches.",
                {
                    "status": "ready",
                    "model": "phantom-siglip",
                    "collection": "cxr_phantom-siglip",
                    "bundle_id": "3f9a2c417be05d68",
                },
            ),
            **problem_responses(
                not_ready_503="no_collection: no model is active; run `cxr demo`, or `cxr ingest` and `cxr use MODEL`"
            ),
        },
    )
    async def check_ready(
        self,
        request: Request[Any, Any, Any],
        catalog: NamedDependency[Catalog],
        audit: NamedDependency[AuditLog],
        drain: NamedDependency[Drain],
        probe_permits: NamedDependency[Permits],
    ) -> HealthDocument:
        """Checks that a model is active, its collection was built with the installed bundle, and the engine answers.

        The service is not ready if a model runs on another device than the configured one, or if the service is stopping.

        No key is needed, because load balancers have none. Once keys are in use, answers without a key contain no names
        and no messages.
        """
        try:
            drain.require_open()
            # Probes have their own permits: a busy service is still ready.
            document = await probe_permits.run(_check_ready, catalog, audit)
        except RetrievalError as error:
            known = "read" in request.auth.scopes
            raise NotReady((f"{error.code}: {public_message(error)}" if known else error.code,)) from error
        return document if "read" in request.auth.scopes else HealthDocument(status="ready")


def require_device(encoder: Encoder, device: Device) -> None:
    """Check that each tower runs on the configured device. Opens towers that are not open.

    Raises:
        DeviceUnavailable: onnxruntime runs a tower on another device. It does so, and only prints a line, if CUDA fails.
    """
    towers = {"image": encoder.image_session}
    if encoder.bundle.has_text:
        towers["text"] = encoder.text_session
    for name, session in towers.items():
        used = "cuda" if "CUDAExecutionProvider" in session.providers else "cpu"
        if device not in ("auto", used):
            raise DeviceUnavailable(
                f"the configured device is {device}, but the {name} tower runs on {session.providers}"
            )


def _check_ready(catalog: Catalog, audit: AuditLog) -> HealthDocument:
    retriever = catalog.retriever()
    require_device(retriever.encoder, catalog.settings.device)
    try:
        retriever.facet("view")  # the cheapest request that the engine itself must answer
    except RetrievalError:
        raise
    except Exception as error:  # Edge raises its own types and Python's
        name = retriever.collection.name
        raise IndexFailure(f"{name} does not answer: {error}", public=f"{name} does not answer") from error
    audit.check()
    return HealthDocument(
        status="ready",
        model=retriever.model,
        collection=retriever.collection.name,
        bundle_id=retriever.bundle.bundle_id,
    )
