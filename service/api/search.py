"""`/v1/search`: search by any query, by text, by image, and by batches of queries."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, post
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.params import Body

from retrieval.errors import InvalidRequest
from retrieval.index.filters import Filters
from retrieval.search.query import Query, add_choices
from service.access.rate_limit import RateLimit
from service.access.scopes import READ
from service.api.examples import (
    BATCH_EXAMPLE,
    BATCH_QUERY_EXAMPLE,
    QUERY_EXAMPLES,
    SEARCH_EXAMPLE,
    TEXT_QUERY_EXAMPLE,
    answer_examples,
)
from service.api.problems import (
    AUDIT_PROBLEMS,
    BUSY_PROBLEMS,
    IMAGE_PROBLEMS,
    INDEX_PROBLEMS,
    KEY_PROBLEMS,
    problem_responses,
)
from service.api.schemas import BatchDocument, ImageQuery, SearchBatch, SearchQuery, TextQuery
from service.api.search_runner import SearchRunner
from service.experiments.entities import ShownResult

SEARCH_PROBLEMS = {
    "unknown_model_404": "no model 'x' is installed (installed: phantom-clip, phantom-siglip); see `cxr models`",
    "no_collection_409": "the model x has no collection; run `cxr ingest` with it",
    **KEY_PROBLEMS,
    **AUDIT_PROBLEMS,
    **BUSY_PROBLEMS,
    **INDEX_PROBLEMS,
}
"""For `problem_responses`: problems of every search."""


_QUERY_PROBLEMS = {
    "invalid_request_400": "diversity: Expected `float` <= 1.0",
    "unknown_finding_400": "no finding 'Cardiomegali' in either vocabulary or in this collection; did you "
    "mean 'Cardiomegaly'?",
    "unknown_study_404": "no study '42' in the collection cxr_x",
    "request_too_large_413": "the request body is larger than this route allows",
    **IMAGE_PROBLEMS,
    **SEARCH_PROBLEMS,
}


class SearchController(Controller):
    """Search by text, image and stored cases together."""

    path = "/v1/search"
    tags = ("search",)
    opt = READ

    @post(
        status_code=200,
        operation_id="search",
        summary="Search by text, image, stored cases, or several of these",
        responses={
            **answer_examples(ShownResult, "Hits, best first.", SEARCH_EXAMPLE),
            **problem_responses(**_QUERY_PROBLEMS),
        },
    )
    async def search(
        self,
        data: Annotated[SearchQuery, Body(examples=QUERY_EXAMPLES)],
        runner: NamedDependency[SearchRunner],
    ) -> ShownResult:
        """Finds the cases nearest to the query. Every hit matches the filters. An image is base64 and is not stored."""
        return await runner.answer(data, data.model)

    @post(
        "/batch",
        status_code=200,
        operation_id="searchBatch",
        summary="Several searches in one request",
        responses={
            **answer_examples(BatchDocument, "One answer for each query, in order.", BATCH_EXAMPLE),
            **problem_responses(**_QUERY_PROBLEMS),
        },
    )
    async def search_batch(
        self,
        request: Request[Any, Any, Any],
        data: Annotated[SearchBatch, Body(examples=[BATCH_QUERY_EXAMPLE])],
        runner: NamedDependency[SearchRunner],
        rate_limit: NamedDependency[RateLimit],
    ) -> BatchDocument:
        """Answers up to 32 queries, which are encoded together. If one query fails, the whole batch fails.

        For the rate limit, each query counts as one request. A batch that exceeds it gets 429 with `Retry-After`.
        """
        rate_limit.count_more(request.scope, len(data.queries) - 1)
        return BatchDocument(results=await runner.answer_batch(data.queries, data.model))


class TextSearchController(Controller):
    """Search by text."""

    path = "/v1/search/text"
    tags = ("search",)
    opt = READ

    @post(
        status_code=200,
        operation_id="searchText",
        summary="Search by text",
        responses={
            **answer_examples(ShownResult, "Hits, best first.", SEARCH_EXAMPLE),
            **problem_responses(
                invalid_request_400="k: Expected `int` >= 1",
                unknown_finding_400="no finding 'Cardiomegali' in either vocabulary or in this collection; did you "
                "mean 'Cardiomegaly'?",
                request_too_large_413="the request body is larger than this route allows",
                **SEARCH_PROBLEMS,
            ),
        },
    )
    async def search_text(
        self,
        data: Annotated[TextQuery, Body(examples=[TEXT_QUERY_EXAMPLE])],
        runner: NamedDependency[SearchRunner],
    ) -> ShownResult:
        """Finds cases that match the text, nearest first. Every hit matches the filters."""
        query = Query(text=data.text, filters=data.filters, k=data.k, rerank=data.rerank)
        return await runner.answer(query, data.model)


class ImageSearchController(Controller):
    """Search by image."""

    path = "/v1/search/image"
    tags = ("search",)
    opt = READ

    @post(
        status_code=200,
        operation_id="searchImage",
        summary="Search by image",
        responses={
            **answer_examples(ShownResult, "Hits, best first.", SEARCH_EXAMPLE),
            **problem_responses(
                invalid_request_400="k: Expected `int` >= 1",
                **IMAGE_PROBLEMS,
                **SEARCH_PROBLEMS,
            ),
        },
    )
    async def search_image(
        self,
        data: Annotated[ImageQuery, Body(media_type=RequestEncodingType.MULTI_PART)],
        runner: NamedDependency[SearchRunner],
    ) -> ShownResult:
        """Finds cases that look like the image, nearest first. Every hit matches the filters. The image is not stored."""
        filters = decode_filters(data.filters)
        query = Query(image=await data.image.read(), filters=filters, k=data.k, rerank=data.rerank)
        return await runner.answer(query, data.model)


def decode_filters(text: str) -> Filters:
    """Filters from the JSON text of a form field.

    Raises:
        InvalidRequest: it is not JSON, or does not match `Filters`.
    """
    try:
        return msgspec.json.decode(text, type=Filters)
    except msgspec.DecodeError as error:
        message = add_choices(str(error), str(error))
        raise InvalidRequest(f'filters: expected JSON such as {{"all": ["Cardiomegaly"]}}: {message}') from error
