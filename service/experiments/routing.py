"""Routes each search to a model. Every search route uses `ModelRouter`."""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from random import SystemRandom
from typing import Any

from litestar import Request
from litestar.datastructures import Cookie

from retrieval.catalog import Catalog
from retrieval.errors import RetrievalError
from retrieval.search.hits import SearchResult
from retrieval.search.retriever import Retriever
from service.experiments.entities import Experiment, ShownResult, Team
from service.experiments.exposure import record_exposures
from service.experiments.interleaving import interleave
from service.experiments.runtime import ExperimentRuntime
from service.experiments.shadow import ShadowSearch
from service.experiments.visitor_session import begin_visit, session_of

Search = Callable[[Retriever], list[SearchResult]]
"""Runs the queries of one request with a model."""

_log = logging.getLogger("cxr.service.experiments")


@dataclass(frozen=True, slots=True)
class _Contest:
    """A running experiment with both of its models."""

    experiment: Experiment
    first: Retriever
    second: Retriever


class ModelRouter:
    """Routes the searches of one request. Calls block; run them in the thread of a permit."""

    def __init__(
        self,
        experiments: ExperimentRuntime,
        catalog: Catalog,
        *,
        session: str | None,
        state: dict[str, Any],
        secure: bool,
    ) -> None:
        self.session = session
        self._experiments = experiments
        self._catalog = catalog
        self._state = state
        self._secure = secure

    @classmethod
    def for_request(
        cls, request: Request[Any, Any, Any], experiments: ExperimentRuntime, catalog: Catalog, *, secure: bool
    ) -> ModelRouter:
        """The router of `request`; `secure` as in `LoginSessions`."""
        state: dict[str, Any] = request.scope["state"]
        return cls(experiments, catalog, session=session_of(request), state=state, secure=secure)

    def begin_visit(self) -> list[Cookie]:
        """The cookie that makes the browser recognizable, unless the request already has a session."""
        if self.session is not None:
            return []
        self.session, cookie = begin_visit(secure=self._secure)
        return [cookie]

    def search_batch(self, model: str | None, search: Search) -> list[ShownResult]:
        """Recorded results of `search` with `model`; by default with those of the running experiment, else the active one.

        Raises:
            RetrievalError: as `search` and `Catalog.retriever`.
        """
        contest = None if model else self._open_contest()
        if contest is None:
            return self._record(search(self._catalog.retriever(model)))
        match contest.experiment.kind:
            case "split":
                return self._split(contest, search)
            case "interleave":
                return self._interleave(contest, search)
            case "shadow":
                return self._shadow(contest, search)

    def retrievers(self, model: str | None) -> list[Retriever]:
        """The models that `search_batch` may use for the next search: one, or both of the running experiment.

        Raises:
            RetrievalError: as `Catalog.retriever`.
        """
        contest = None if model else self._open_contest()
        return [contest.first, contest.second] if contest else [self._catalog.retriever(model)]

    def _open_contest(self) -> _Contest | None:
        """The running experiment; None if there is none, or if one of its models is gone: then the active model answers."""
        experiment = self._experiments.running()
        if experiment is None:
            return None
        try:
            first, second = (self._catalog.retriever(name) for name in (experiment.model_a, experiment.model_b))
        except RetrievalError as error:
            _log.warning("experiment %s cannot continue: %s", experiment.name, error)
            return None
        return _Contest(experiment, first, second)

    def _split(self, contest: _Contest, search: Search) -> list[ShownResult]:
        session = self._hash_session()
        team = team_of(contest.experiment, session) if session else "a"
        results = search(contest.second if team == "b" else contest.first)
        return self._record(results, contest.experiment, team=team)

    def _interleave(self, contest: _Contest, search: Search) -> list[ShownResult]:
        results, teams = [], []
        for first, second in zip(search(contest.first), search(contest.second), strict=True):
            result, drafted = interleave(first, second, SystemRandom())
            results.append(result)
            teams.append([each.team for each in drafted])
        return self._record(results, contest.experiment, hit_teams=teams)

    def _shadow(self, contest: _Contest, search: Search) -> list[ShownResult]:
        shown = self._record(search(contest.first), contest.experiment)
        if shown[0].search_id:
            shadow = ShadowSearch(self._experiments.store, shown, lambda: search(contest.second))
            self._experiments.shadows.defer(shadow, self._state)
        return shown

    def _record(
        self,
        results: list[SearchResult],
        experiment: Experiment | None = None,
        *,
        team: Team | None = None,
        hit_teams: list[list[Team | None]] | None = None,
    ) -> list[ShownResult]:
        return record_exposures(
            self._experiments, results, self._hash_session(), experiment, team=team, hit_teams=hit_teams
        )

    def _hash_session(self) -> str | None:
        # A request without a session counts as a separate session.
        self.session = self.session or secrets.token_hex(16)
        try:
            return self._experiments.hash_session(self.session)
        except (RetrievalError, OSError) as error:
            _log.warning("searches get no search_id: %s", error)
            return None


def team_of(experiment: Experiment, session: str) -> Team:
    """The model that a session gets in a split, always the same: `share` per cent of all sessions get B."""
    digest = hmac.digest(experiment.salt, session.encode(), hashlib.sha256)
    return "b" if int.from_bytes(digest[:8], "big") / 2**64 < experiment.share / 100 else "a"
