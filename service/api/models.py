"""`/v1/models`: list the models, and switch the active one."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Request, get, put
from litestar.di import NamedDependency
from litestar.params import JSONBody

from retrieval.catalog import Catalog
from retrieval.model_status import ModelStatus
from service.access.audit import AuditLog
from service.access.scopes import ADMIN, READ
from service.api.examples import MODEL_EXAMPLE, answer_examples
from service.api.problems import AUDIT_PROBLEMS, BUSY_PROBLEMS, INDEX_PROBLEMS, KEY_PROBLEMS, problem_responses
from service.api.schemas import ModelChoice, ModelsDocument
from service.load.permits import Permits


class ModelsController(Controller):
    """Models and the active one."""

    path = "/v1/models"
    tags = ("models",)
    opt = READ

    @get(
        operation_id="listModels",
        summary="All models",
        responses={
            **answer_examples(ModelsDocument, "The models.", {"models": [MODEL_EXAMPLE]}),
            **problem_responses(**KEY_PROBLEMS, **BUSY_PROBLEMS, **INDEX_PROBLEMS),
        },
    )
    async def list_models(self, catalog: NamedDependency[Catalog], permits: NamedDependency[Permits]) -> ModelsDocument:
        """Every installed model and every collection; the active model is marked."""
        return ModelsDocument(models=await permits.run(catalog.models))

    @put(
        "/active",
        opt=ADMIN,
        operation_id="activateModel",
        summary="Switch the active model",
        responses={
            **answer_examples(ModelStatus, "The model that is active now.", MODEL_EXAMPLE),
            **problem_responses(
                invalid_request_400="model: a name is required",
                unknown_model_404="no model 'x' is installed (installed: phantom-clip, phantom-siglip); see `cxr models`",
                no_collection_409="the model x has no collection; run `cxr ingest` with it",
                counts_differ_409="the collection of phantom-clip lacks images of the active one, of phantom-siglip: it has "
                "900 of 1,200 images of phantom; `cxr ingest` the rest with phantom-clip, or switch anyway with --force "
                '(over HTTP: "force": true)',
                **KEY_PROBLEMS,
                **AUDIT_PROBLEMS,
                **BUSY_PROBLEMS,
                **INDEX_PROBLEMS,
            ),
        },
    )
    async def activate_model(
        self,
        request: Request[Any, Any, Any],
        data: JSONBody[ModelChoice],
        catalog: NamedDependency[Catalog],
        permits: NamedDependency[Permits],
        audit: NamedDependency[AuditLog],
    ) -> ModelStatus:
        """Activates a model: from now on, requests without `model` use it, here and on the command line.

        Refused with `counts_differ` if its collection is not complete, or holds fewer images of a dataset than the active
        one; `force` switches anyway.
        """
        # The audit log records only names of existing models: any other text could hold patient data.
        known = data.model in {status.key for status in await permits.run(catalog.models)}
        async with audit.record_change(request, "switch_model", model=data.model if known else None, force=data.force):
            return await permits.run(catalog.activate, data.model, force=data.force)
