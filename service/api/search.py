"""`/v1/search`: cases by words and by image."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import Controller, post
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.params import Body

from retrieval.errors import InvalidRequest
from retrieval.index.filters import Filters
from retrieval.search.query import Query, add_choices
from service.access.scopes import READ
from service.api.examples import SEARCH_EXAMPLE, TEXT_QUERY_EXAMPLE, answer_examples
from service.api.problems import AUDIT_PROBLEMS, BUSY_PROBLEMS, IMAGE_PROBLEMS, KEY_PROBLEMS, problem_responses
from service.api.schemas import ImageQuery, SearchDocument, TextQuery
from service.api.searches import Searches

SEARCH_PROBLEMS = {
    "unknown_model_404": "no model 'x' is installed",
    "no_collection_409": "the model 'x' has no collection yet; run `cxr ingest`",
    "index_unreachable_503": "the Qdrant server does not answer",
    **KEY_PROBLEMS,
    **AUDIT_PROBLEMS,
    **BUSY_PROBLEMS,
}
"""For `problem_responses`: what every search may answer."""


class TextSearchController(Controller):
    """Search by words."""

    path = "/v1/search/text"
    tags = ("search",)
    opt = READ

    @post(
        status_code=200,
        operation_id="searchText",
        summary="Search by words",
        responses={
            **answer_examples(SearchDocument, "Hits, best first.", SEARCH_EXAMPLE),
            **problem_responses(
                invalid_request_400="k: Expected `int` >= 1",
                unknown_finding_400="no finding 'Cardiomegali' in CheXpert-14 or in this collection",
                request_too_large_413="Request Entity Too Large",
                **SEARCH_PROBLEMS,
            ),
        },
    )
    async def search_text(
        self,
        data: Annotated[TextQuery, Body(examples=[TEXT_QUERY_EXAMPLE])],
        searches: NamedDependency[Searches],
    ) -> SearchDocument:
        """Cases that the words describe, nearest first; every hit obeys the filters."""
        query = Query(text=data.text, filters=data.filters, k=data.k, rerank=data.rerank)
        return await searches.answer(query, data.model)


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
            **answer_examples(SearchDocument, "Hits, best first.", SEARCH_EXAMPLE),
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
        searches: NamedDependency[Searches],
    ) -> SearchDocument:
        """Cases that look like the image, nearest first; every hit obeys the filters. The image is not kept."""
        filters = decode_filters(data.filters)
        query = Query(image=await data.image.read(), filters=filters, k=data.k, rerank=data.rerank)
        return await searches.answer(query, data.model)


def decode_filters(text: str) -> Filters:
    """Filters from the JSON text of a form field.

    Raises:
        InvalidRequest: not JSON, or not of the shape `Filters`.
    """
    try:
        return msgspec.json.decode(text, type=Filters)
    except msgspec.DecodeError as error:
        message = add_choices(str(error), str(error))
        raise InvalidRequest(f'filters: expected JSON such as {{"all": ["Cardiomegaly"]}}: {message}') from error
