"""`/v1/search`: any query in one JSON body, several of them, and counts of labels."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Controller, Request, post
from litestar.di import NamedDependency
from litestar.params import Body

from retrieval.catalog import Catalog
from service.access.audit import AuditLog
from service.access.rate_limit import RateLimit
from service.access.scopes import READ
from service.api.examples import (
    BATCH_EXAMPLE,
    BATCH_QUERY_EXAMPLE,
    FACET_QUERY_EXAMPLE,
    FACETS_EXAMPLE,
    QUERY_EXAMPLES,
    SEARCH_EXAMPLE,
    answer_examples,
)
from service.api.problems import IMAGE_PROBLEMS, problem_responses
from service.api.schemas import BatchDocument, FacetQuery, FacetsDocument, SearchBatch, SearchDocument, SearchQuery
from service.api.search import SEARCH_PROBLEMS
from service.api.searches import Searches
from service.load.permits import SearchPermits

_QUERY_PROBLEMS = {
    "invalid_request_400": "diversity: Expected `float` <= 1.0",
    "unknown_finding_400": "no finding 'Cardiomegali' in CheXpert-14 or in this collection",
    "unknown_study_404": "no study '42' in the collection cxr_x",
    "request_too_large_413": "Request Entity Too Large",
    **IMAGE_PROBLEMS,
    **SEARCH_PROBLEMS,
}


class QueryController(Controller):
    """Search by words, image and stored cases together."""

    path = "/v1/search"
    tags = ("search",)
    opt = READ

    @post(
        status_code=200,
        operation_id="search",
        summary="Search by words, image, stored cases, or several of these",
        responses={
            **answer_examples(SearchDocument, "Hits, best first.", SEARCH_EXAMPLE),
            **problem_responses(**_QUERY_PROBLEMS),
        },
    )
    async def search(
        self,
        data: Annotated[SearchQuery, Body(examples=QUERY_EXAMPLES)],
        searches: NamedDependency[Searches],
    ) -> SearchDocument:
        """Cases that the query asks for, best first; every hit obeys the filters. An image is base64, and is not kept."""
        return await searches.answer(data, data.model)

    @post(
        "/batch",
        status_code=200,
        operation_id="searchBatch",
        summary="Several searches at once",
        responses={
            **answer_examples(BatchDocument, "One answer for each query, in order.", BATCH_EXAMPLE),
            **problem_responses(**_QUERY_PROBLEMS),
        },
    )
    async def search_batch(
        self,
        request: Request[Any, Any, Any],
        data: Annotated[SearchBatch, Body(examples=[BATCH_QUERY_EXAMPLE])],
        searches: NamedDependency[Searches],
        rate_limit: NamedDependency[RateLimit],
    ) -> BatchDocument:
        """Answers up to 32 queries, encoded together. If one of them cannot be answered, none is.

        Towards the rate limit each query counts as a request; a batch that exceeds it gets 429 with `Retry-After`.
        """
        rate_limit.take_further(request.scope, len(data.queries) - 1)
        return BatchDocument(results=await searches.answer_batch(data.queries, data.model))


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
                unknown_finding_400="no finding 'Cardiomegali' in CheXpert-14 or in this collection",
                request_too_large_413="Request Entity Too Large",
                **SEARCH_PROBLEMS,
            ),
        },
    )
    async def count_facets(
        self,
        request: Request[Any, Any, Any],
        data: Annotated[FacetQuery, Body(examples=[FACET_QUERY_EXAMPLE])],
        catalog: NamedDependency[Catalog],
        permits: NamedDependency[SearchPermits],
        audit: NamedDependency[AuditLog],
    ) -> FacetsDocument:
        """How many images under the filters have each value of some fields, such as each finding."""

        def count() -> FacetsDocument:
            retriever = catalog.retriever(data.model)
            counts = {str(name): retriever.facet(name, data.filters) for name in data.fields}
            audit.facets(request, retriever, data.filters, counts)
            return FacetsDocument(model=retriever.model, facets=counts)

        return await permits.run(count)
