"""Exposures: the hits that a search showed, recorded before it is answered, so that feedback can refer to them."""

from __future__ import annotations

import secrets

import msgspec

from retrieval.search.hits import Hit, SearchResult
from service.experiments.entities import Experiment, Exposure, ShownHit, ShownResult, Team
from service.experiments.runtime import ExperimentRuntime


def record_exposures(
    experiments: ExperimentRuntime,
    results: list[SearchResult],
    session: str | None,
    experiment: Experiment | None = None,
    *,
    team: Team | None = None,
    hit_teams: list[list[Team | None]] | None = None,
) -> list[ShownResult]:
    """The results with their search ids. `session` is hashed; without it nothing is recorded.

    `team` is the model that answered a split, `hit_teams` the team of each hit of each interleaved result.
    """
    name = experiment.name if experiment else None
    exposures = [
        Exposure(
            search_id=secrets.token_hex(16),
            session=session or "",
            shown=_shown_hits(result.hits, hit_teams[number] if hit_teams else [None] * len(result.hits)),
            experiment=name,
            team=team,
        )
        for number, result in enumerate(results)
    ]
    recorded = session is not None and experiments.add_exposures(exposures)
    return [
        _shown_result(result, search_id=exposure.search_id if recorded else None, experiment=name)
        for result, exposure in zip(results, exposures, strict=True)
    ]


def _shown_hits(hits: list[Hit], teams: list[Team | None]) -> tuple[ShownHit, ...]:
    return tuple(ShownHit(hit.dataset, hit.study_id, hit.image_id, team) for hit, team in zip(hits, teams, strict=True))


def _shown_result(result: SearchResult, *, search_id: str | None, experiment: str | None) -> ShownResult:
    return ShownResult(**msgspec.structs.asdict(result), search_id=search_id, experiment=experiment)
