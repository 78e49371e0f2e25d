"""Turns every exception into a problem document (`application/problem+json`, RFC 9457)."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.types import ExceptionHandlersMap

from retrieval.errors import IndexUnreachable, RetrievalError
from retrieval.search import query
from retrieval.search.query import Facet
from retrieval.search.rerank import Preset
from service.experiments.entities import FeedbackKind
from service.refusals import NotReady, Refusal

MEDIA_TYPE = "application/problem+json"

KEY_PROBLEMS = {
    "key_required_401": "an API key is required: send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`",
    "invalid_key_401": "this key is revoked",
    "scope_missing_403": "the key ward-3 lacks the scope `admin`",
    "rate_limited_429": "too many requests; see CXR_SERVICE_RATE_PER_MINUTE",
}
"""For `problem_responses`: problems of every route that needs a key."""

AUDIT_PROBLEMS = {"audit_unavailable_503": "the audit log cannot be written: No space left on device"}
"""For `problem_responses`: problems of every route that writes to the audit log."""

BUSY_PROBLEMS = {
    "overloaded_429": "the queue is full (4 running, 32 waiting); try again later",
    "queue_timeout_503": "the request timed out after 30 s in the queue",
    "draining_503": "the service is stopping and takes no new requests",
    "request_timeout_504": "the request took longer than 30 s",
}
"""For `problem_responses`: problems of every route that calls the engine."""

INDEX_PROBLEMS = {
    "index_unreachable_503": "the index does not answer; try again later",
    "index_forbidden_503": "the index refuses the key of this service; its log says why",
}
"""For `problem_responses`: problems of every route that asks a Qdrant server. `Retry-After` says when to try again."""

IMAGE_PROBLEMS = {
    "image_too_large_413": "the image has 70,000,000 bytes; at most 67,108,864 are accepted",
    "unreadable_image_422": "the image is not a readable PNG image (1,024 bytes, OSError); copy or export it again",
    "image_too_complex_422": "the image has more than 64 JPEG scans, which would take long to decode; save it again with "
    "an image program",
    "decode_timeout_422": "the image was not decoded within 10 s; a normal radiograph takes less than 5 s",
    "decoder_crashed_422": "the image crashed the process that decoded it (exit code -9); it is damaged or hostile",
}
"""For `problem_responses`: problems of every route that takes an image."""

# Codes of errors that Litestar raises; those of the engine are in retrieval.errors.
_CODES = {
    400: "invalid_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "request_too_large",
    415: "unsupported_media_type",
}
_DETAILS = {
    404: "no route has this URL; `/schema` lists all routes",
    405: "this route does not support the method; the header `Allow` lists those it supports",
    413: "the request body is larger than this route allows",
}
"""Replacements for the details that are only the status in words."""

CHOICES = query.CHOICES | {"rerank": Preset, "fields": Facet, "kind": FeedbackKind}
"""The allowed values of request fields that have a fixed choice, by name."""
_log = logging.getLogger("cxr.service")


class FieldProblem(msgspec.Struct, frozen=True, kw_only=True):
    """One field of the request that was refused."""

    field: str
    message: str


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error. `code` is stable and meant for programs; `detail` is meant for people."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: tuple[FieldProblem, ...] = ()
    reasons: tuple[str, ...] = ()


def make_problem(code: str, status: int, detail: str, **more: Any) -> Problem:
    """A problem document, whose title is the code in words."""
    title = code.replace("_", " ").capitalize()
    return Problem(type=f"urn:cxr:problem:{code}", title=title, status=status, detail=detail, code=code, **more)


def describe_error(error: Exception) -> Problem:
    """The problem document of any exception. Unexpected errors are logged; the document contains no details of them."""
    match error:
        case NotReady():
            return make_problem(error.code, error.http_status, str(error), reasons=error.reasons)
        case RetrievalError():
            return make_problem(error.code, error.http_status, public_message(error))
        case ValidationException():
            fields = _refused_fields(error)
            detail = "; ".join(f"{problem.field}: {problem.message}" for problem in fields) or error.detail
            return make_problem("invalid_request", 400, detail, errors=fields)
        case HTTPException() if error.status_code < 500:
            # Python 3.13 has another phrase for 413 than Litestar's exception.
            status_words = HTTPStatus(error.status_code).phrase, getattr(type(error), "detail", "")
            says_nothing = error.detail in status_words
            detail = _DETAILS.get(error.status_code, error.detail) if says_nothing else error.detail
            return make_problem(_CODES.get(error.status_code, "refused"), error.status_code, detail)
        case _:
            _log.error("unexpected %s", type(error).__name__, exc_info=error)
            return make_problem("internal_error", 500, "unexpected error; see the log of the service")


def public_message(error: RetrievalError) -> str:
    """The message of `error` for the caller. If it is not the whole message, that is logged."""
    if error.public != str(error):
        _log.warning("%s: %s", error.code, error)
    return error.public


def _refused_fields(error: ValidationException) -> tuple[FieldProblem, ...]:
    extra = error.extra if isinstance(error.extra, list) else []
    return tuple(_refused_field(str(item.get("key", "data")), str(item["message"])) for item in extra)


def _refused_field(key: str, message: str) -> FieldProblem:
    # Litestar calls the whole body "data"; if the body is missing, the message is just that name.
    if message == "'data'":
        return FieldProblem(field="body", message="a request body is required")
    return FieldProblem(field="body" if key == "data" else key, message=query.add_choices(message, key, CHOICES))


def respond(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    """The answer to a request that raised `error`."""
    problem = describe_error(error)
    request.scope["state"]["code"] = problem.code  # for the log and the metrics
    # For example `Retry-After`, `WWW-Authenticate` or `Allow`.
    headers = error.headers if isinstance(error, (Refusal, HTTPException)) else None
    if isinstance(error, IndexUnreachable):
        headers = {"Retry-After": str(error.retry_after_s)}
    return Response(problem, status_code=problem.status, media_type=MEDIA_TYPE, headers=headers)


# HTTPException needs its own entry: with `Exception` alone, Litestar answers an unknown route with 500.
EXCEPTION_HANDLERS: ExceptionHandlersMap = {RetrievalError: respond, HTTPException: respond, Exception: respond}


def problem_responses(**details: str) -> dict[int, ResponseSpec]:
    """The OpenAPI description of the problems that an endpoint answers with.

    Each keyword is `<code>_<status>` and each value an example of `detail`. Codes of the same status share a response.
    """
    by_status: dict[int, list[Example]] = {}
    for name, detail in details.items():
        code, _, status = name.rpartition("_")
        problem = msgspec.to_builtins(make_problem(code, int(status), detail))
        by_status.setdefault(int(status), []).append(Example(id=code, summary=problem["title"], value=problem))
    return {
        status: ResponseSpec(
            Problem,
            generate_examples=False,
            description=" or ".join(str(example.summary) for example in examples),
            media_type=MEDIA_TYPE,
            examples=examples,
        )
        for status, examples in by_status.items()
    }
