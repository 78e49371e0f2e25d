"""`/v1/facets`: counts of images by label."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Controller, Request, post
from litestar.di import NamedDependency
from litestar.params import Body

from retrieval.catalog import Catalog
from service.access.audit import AuditLog
from service.access.scopes import READ
from service.api.examples import FACET_QUERY_EXAMPLE, FACETS_EXAMPLE, answer_examples
from service.api.problems import problem_responses
from service.api.schemas import FacetQuery, FacetsDocument
from service.api.search import SEARCH_PROBLEMS
from service.load.permits import Permits


class FacetsController(Controller):
    """Counts of labels."""

    path = "/v1/facets"
    tags = ("search",)
    opt = READ

    @post(
        status_code=200,
        operation_id="countFacets",
        summary="Count images by label",
        responses={
            **answer_examples(FacetsDocument, "Counts by field and value.", FACETS_EXAMPLE),
            **problem_responses(
                invalid_request_400="fields[0]: Invalid enum value 'age'; expected present, uncertain, …",
                unknown_finding_400="no finding 'Cardiomegali' in either vocabulary or in this collection; did you "
                "mean 'Cardiomegaly'?",
                request_too_large_413="the request body is larger than this route allows",
                **SEARCH_PROBLEMS,
            ),
        },
    )
    async def count_facets(
        self,
        request: Request[Any, Any, Any],
        data: Annotated[FacetQuery, Body(examples=[FACET_QUERY_EXAMPLE])],
        catalog: NamedDependency[Catalog],
        permits: NamedDependency[Permits],
        audit: NamedDependency[AuditLog],
    ) -> FacetsDocument:
        """Counts the images that match the filters, by each value of the requested fields; for example by finding."""

        def count() -> FacetsDocument:
            retriever = catalog.retriever(data.model)
            counts = {str(name): retriever.facet(name, data.filters) for name in data.fields}
            audit.write_facets(request, retriever, data.filters, counts)
            return FacetsDocument(model=retriever.model, facets=counts)

        return await permits.run(count)
