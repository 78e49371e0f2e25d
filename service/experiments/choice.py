"""Which model answers a search: the one place that decides, for every route that searches."""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, fields
from random import SystemRandom
from typing import Any

from litestar import Request
from litestar.datastructures import Cookie

from retrieval.catalog import Catalog
from retrieval.errors import RetrievalError
from retrieval.search.hits import Hit, SearchResult
from retrieval.search.retriever import Retriever
from service.experiments.entities import Experiment, Exposure, Shadow, ShownHit, Team
from service.experiments.interleaving import image_of, interleave
from service.experiments.runtime import SHADOW, ExperimentRuntime
from service.experiments.visitor_session import begin_visit, session_of

Search = Callable[[Retriever], list[SearchResult]]
_log = logging.getLogger("cxr.service.experiments")


@dataclass(frozen=True, slots=True)
class ShownResult(SearchResult):
    """A result as a client gets it. `search_id` is what feedback refers to; None if the search could not be recorded."""

    search_id: str | None = None
    experiment: str | None = None


class SearchChoice:
    """The searches of one request. Calls block; they belong into the thread that a permit gives."""

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
        self._laboratory = experiments
        self._catalog = catalog
        self._state = state
        self._secure = secure

    @classmethod
    def of(
        cls, request: Request[Any, Any, Any], experiments: ExperimentRuntime, catalog: Catalog, *, secure: bool
    ) -> SearchChoice:
        """The choice for `request`; `secure` as that of `LoginSessions`."""
        state: dict[str, Any] = request.scope["state"]
        return cls(experiments, catalog, session=session_of(request), state=state, secure=secure)

    def begin_visit(self) -> list[Cookie]:
        """Let the browser be known again, if nothing tells its session yet; the cookie to send, if so."""
        if self.session is not None:
            return []
        self.session, cookie = begin_visit(secure=self._secure)
        return [cookie]

    def search(self, model: str | None, search: Callable[[Retriever], SearchResult]) -> ShownResult:
        """The answer of `model`, or of whichever the running experiment says, or of the active one; recorded.

        Raises:
            RetrievalError: as `search`, and as `Catalog.retriever`.
        """
        return self.search_batch(model, lambda retriever: [search(retriever)])[0]

    def search_batch(self, model: str | None, search: Search) -> list[ShownResult]:
        """As `search`, for several queries that are answered together."""
        experiment = None if model else self._laboratory.running()
        players = self._open(experiment) if experiment else None
        if experiment is None or players is None:
            return self._record(search(self._catalog.retriever(model)))
        first, second = players
        match experiment.kind:
            case "split":
                team = self._team(experiment)
                return self._record(search(second if team == "b" else first), experiment, team)
            case "interleave":
                return self._interleave(experiment, search(first), search(second))
            case "shadow":
                shown = self._record(search(first), experiment)
                if shown[0].search_id:
                    self._state[SHADOW] = lambda: self._shadow(shown, second, search)
                return shown

    def retrievers(self, model: str | None) -> list[Retriever]:
        """All that may answer the next search: that of `model`, or both of the running experiment, or the active one.

        Raises:
            RetrievalError: as `Catalog.retriever`.
        """
        experiment = None if model else self._laboratory.running()
        players = self._open(experiment) if experiment else None
        return list(players) if players else [self._catalog.retriever(model)]

    def _open(self, experiment: Experiment) -> tuple[Retriever, Retriever] | None:
        """Both models; None if one has gone since the experiment began: users get the active one's answer instead."""
        try:
            return self._catalog.retriever(experiment.model_a), self._catalog.retriever(experiment.model_b)
        except RetrievalError as error:
            _log.warning("the experiment %s cannot go on: %s", experiment.name, error)
            return None

    def _team(self, experiment: Experiment) -> Team:
        session = self._hashed_session()
        return team_of(experiment, session) if session else "a"

    def _hashed_session(self) -> str | None:
        try:
            return self._laboratory.hash_session(self._named_session)
        except (RetrievalError, OSError) as error:
            _log.warning("searches are answered without an id: %s", error)
            return None

    @property
    def _named_session(self) -> str:
        # A session that nothing tells is as long as the request.
        self.session = self.session or secrets.token_hex(16)
        return self.session

    def _interleave(
        self, experiment: Experiment, first: list[SearchResult], second: list[SearchResult]
    ) -> list[ShownResult]:
        results, shown = [], []
        for a, b in zip(first, second, strict=True):
            result, drafted = interleave(a, b, SystemRandom())
            results.append(result)
            shown.append([each.team for each in drafted])
        return self._record(results, experiment, teams=shown)

    def _record(
        self,
        results: list[SearchResult],
        experiment: Experiment | None = None,
        team: Team | None = None,
        teams: list[list[Team | None]] | None = None,
    ) -> list[ShownResult]:
        """The results with their ids; `teams` are those of each hit of each result, where they were interleaved."""
        name, session = experiment.name if experiment else None, self._hashed_session()
        exposures = [
            Exposure(
                search_id=secrets.token_hex(16),
                session=session or "",
                shown=_shown(result.hits, teams[number] if teams else [None] * len(result.hits)),
                experiment=name,
                team=team,
            )
            for number, result in enumerate(results)
        ]
        recorded = session is not None and self._laboratory.expose(exposures)
        return [
            _of(result, search_id=exposure.search_id if recorded else None, experiment=name)
            for result, exposure in zip(results, exposures, strict=True)
        ]

    def _shadow(self, shown: list[ShownResult], second: Retriever, search: Search) -> None:
        try:
            unseen: list[SearchResult] | None = search(second)
            error = None
        except Exception as failure:  # whatever it is, nobody waits for this answer
            unseen, error = None, getattr(failure, "code", type(failure).__name__)
        for number, result in enumerate(shown):
            assert result.search_id
            if unseen is None:
                self._laboratory.store.add_shadow(Shadow(result.search_id, len(result.hits), error=error))
            else:
                self._laboratory.store.add_shadow(compare(result.search_id, result, unseen[number]))


def team_of(experiment: Experiment, session: str) -> Team:
    """The model that a session gets, always the same one: a hash of it with the experiment's salt, as a share of all."""
    digest = hmac.digest(experiment.salt, session.encode(), hashlib.sha256)
    return "b" if int.from_bytes(digest[:8], "big") / 2**64 < experiment.share / 100 else "a"


def compare(search_id: str, seen: SearchResult, unseen: SearchResult) -> Shadow:
    """How much of one result is in the other, and how long each took."""
    k = max(len(seen.hits), len(unseen.hits))
    common = {image_of(hit) for hit in seen.hits} & {image_of(hit) for hit in unseen.hits}
    return Shadow(
        search_id=search_id,
        k=k,
        overlap=len(common) / k if k else 1.0,
        ms_a=sum(seen.timings_ms.values()),
        ms_b=sum(unseen.timings_ms.values()),
    )


def _shown(hits: list[Hit], teams: list[Team | None]) -> tuple[ShownHit, ...]:
    return tuple(ShownHit(hit.dataset, hit.study_id, hit.image_id, team) for hit, team in zip(hits, teams, strict=True))


def _of(result: SearchResult, *, search_id: str | None = None, experiment: str | None = None) -> ShownResult:
    held = {field.name: getattr(result, field.name) for field in fields(SearchResult)}
    return ShownResult(**held, search_id=search_id, experiment=experiment)
