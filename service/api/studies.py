"""`/v1/studies`: a stored study, and the cases similar to it."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Controller, Request, get
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter

from retrieval.catalog import Catalog
from retrieval.index.filters import Filters
from retrieval.records import LIMIT_ID, View
from retrieval.search.hits import StudyRecord
from retrieval.search.query import LIMIT_K, Case, Query
from retrieval.search.rerank import Preset
from service.access.audit import AuditLog
from service.access.scopes import READ
from service.api.examples import SEARCH_EXAMPLE, STUDY_EXAMPLE, answer_examples
from service.api.problems import AUDIT_PROBLEMS, BUSY_PROBLEMS, INDEX_PROBLEMS, KEY_PROBLEMS, problem_responses
from service.api.requests import no_unknown_parameters
from service.api.search_runner import SearchRunner
from service.api.study_ids import unescape_study_id
from service.experiments.entities import ShownResult
from service.load.permits import Permits

_PROBLEMS = {
    "unknown_study_404": "no study '42' in the collection cxr_x",
    "unknown_model_404": "no model 'x' is installed (installed: phantom-clip, phantom-siglip); see `cxr models`",
    "no_collection_409": "the model x has no collection; run `cxr ingest` with it",
    **KEY_PROBLEMS,
    **AUDIT_PROBLEMS,
    **BUSY_PROBLEMS,
    **INDEX_PROBLEMS,
}
StudyId = Annotated[
    str, PathParameter(description="`study_id` of a hit, percent-encoded.", schema_extra={"max_length": LIMIT_ID})
]
Dataset = Annotated[str | None, QueryParameter(description="Dataset of the study and of every hit.", max_length=200)]
Model = Annotated[str | None, QueryParameter(description="A model with a collection; default: the active model.")]


class StudiesController(Controller):
    """Stored studies."""

    path = "/v1/studies/{study_id:str}"
    tags = ("studies",)
    opt = READ
    guards = (no_unknown_parameters,)
    response_headers = (ResponseHeader(name="Cache-Control", value="no-store", documentation_only=False),)

    @get(
        operation_id="getStudy",
        summary="One study",
        responses={
            **answer_examples(StudyRecord, "The study.", STUDY_EXAMPLE),
            **problem_responses(invalid_request_400="study_id: Expected `str` of length <= 500", **_PROBLEMS),
        },
    )
    async def get_study(
        self,
        request: Request[Any, Any, Any],
        study_id: StudyId,
        catalog: NamedDependency[Catalog],
        permits: NamedDependency[Permits],
        audit: NamedDependency[AuditLog],
        dataset: Dataset = None,
        model: Model = None,
    ) -> StudyRecord:
        """The images, findings and report of a study, as stored in the collection."""
        wanted = unescape_study_id(study_id)

        def open_study() -> StudyRecord:
            retriever = catalog.retriever(model)
            record = retriever.study(wanted, dataset=dataset)
            audit.write_study(request, retriever, record)
            return record

        return await permits.run(open_study)

    @get(
        "/similar",
        operation_id="searchSimilar",
        summary="Cases similar to a stored study",
        responses={
            **answer_examples(ShownResult, "Hits, best first, without the study itself.", SEARCH_EXAMPLE),
            **problem_responses(invalid_request_400="k: Expected `int` >= 1", **_PROBLEMS),
        },
    )
    async def search_similar(
        self,
        study_id: StudyId,
        runner: NamedDependency[SearchRunner],
        present: Annotated[
            tuple[str, ...],
            QueryParameter(name="with", description="Findings that every hit has. Repeat it for several."),
        ] = (),
        refused: Annotated[
            tuple[str, ...],
            QueryParameter(name="without", description="Findings that no hit has. Repeat it for several."),
        ] = (),
        dataset: Dataset = None,
        view: Annotated[View | None, QueryParameter(description="View of every hit.")] = None,
        k: Annotated[int, QueryParameter(ge=1, le=LIMIT_K, description="Number of hits.")] = 10,
        rerank: Annotated[
            Preset, QueryParameter(description="A preset of weights, or `none` for the image alone.")
        ] = "signals",
        model: Model = None,
    ) -> ShownResult:
        """Finds cases that look and read like the study. Its own images are not among the hits."""
        filters = Filters(all=present, none=refused, view=view, dataset=dataset)
        wanted = unescape_study_id(study_id)
        query = Query(study=Case(study_id=wanted), filters=filters, k=k, rerank=rerank)
        return await runner.answer(query, model, like=wanted)
