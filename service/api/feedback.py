"""`/v1/feedback`: records the hits that users opened or rated."""

from __future__ import annotations

from typing import Annotated, Any

from anyio.to_thread import run_sync
from litestar import Controller, Request, post
from litestar.di import NamedDependency
from litestar.params import Body

from service.access.audit import AuditLog
from service.access.scopes import READ
from service.api.examples import FEEDBACK_EXAMPLE, FEEDBACK_QUERY_EXAMPLE, answer_examples
from service.api.problems import AUDIT_PROBLEMS, KEY_PROBLEMS, problem_responses
from service.api.schemas import Feedback, FeedbackDocument
from service.experiments.runtime import ExperimentRuntime
from service.experiments.visitor_session import session_of


class FeedbackController(Controller):
    """Feedback on hits."""

    path = "/v1/feedback"
    tags = ("feedback",)
    opt = READ

    @post(
        status_code=200,
        operation_id="giveFeedback",
        summary="Report that a hit was opened, is relevant, or is not relevant",
        responses={
            **answer_examples(FeedbackDocument, "The feedback, as it was saved.", FEEDBACK_EXAMPLE),
            **problem_responses(
                invalid_request_400="kind: Invalid enum value 'good'; expected click, relevant, not_relevant",
                unknown_search_404="no search '5f1c' is recorded; it may be too old",
                not_shown_404="the search 5f1c did not show the image 'a.png' of the study '42'",
                request_too_large_413="the request body is larger than this route allows",
                experiments_unavailable_503="experiments.sqlite cannot be used: disk I/O error",
                draining_503="the service is stopping and takes no new requests",
                **KEY_PROBLEMS,
                **AUDIT_PROBLEMS,
            ),
        },
    )
    async def give_feedback(
        self,
        request: Request[Any, Any, Any],
        data: Annotated[Feedback, Body(examples=[FEEDBACK_QUERY_EXAMPLE])],
        experiments: NamedDependency[ExperimentRuntime],
        audit: NamedDependency[AuditLog],
    ) -> FeedbackDocument:
        """Saves feedback on an image that a search has shown. Repeated feedback counts once.

        The header `X-CXR-Session` names the session, if it is not the one that searched. Between `relevant` and
        `not_relevant`, the last one counts.
        """
        return await save_feedback(request, data, experiments, audit)


async def save_feedback(
    request: Request[Any, Any, Any], data: Feedback, experiments: ExperimentRuntime, audit: AuditLog
) -> FeedbackDocument:
    """Record feedback in the audit log and save it. The page uses this, too.

    Raises:
        UnknownSearch, NotShown: the search or the image is not known.
        ExperimentsUnavailable: the feedback could not be saved. AuditUnavailable: it could not be recorded.
    """
    exposure, hit = await run_sync(
        experiments.store.find_shown, data.search_id, data.study_id, data.image_id, data.dataset
    )
    await audit.record(request, "feedback", search_id=data.search_id, kind=data.kind, studies=[hit.study_id])
    await run_sync(experiments.add_feedback, session_of(request), exposure, hit, data.kind)
    return FeedbackDocument(
        search_id=data.search_id,
        dataset=hit.dataset,
        study_id=hit.study_id,
        image_id=hit.image_id,
        kind=data.kind,
    )
