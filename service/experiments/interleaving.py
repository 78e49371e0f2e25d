"""Interleaving: two ranked lists in one. A click on a hit counts for the model that contributed it.

Team-draft interleaving: Radlinski, Kurup and Joachims, "How does clickthrough data reflect retrieval quality?", CIKM 2008.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from random import Random

from msgspec.structs import replace

from retrieval.search.hits import Hit, SearchResult
from service.experiments.entities import Team


@dataclass(frozen=True, slots=True)
class Drafted:
    """A hit and the team that chose it; None for a hit that fills up the list after the draft."""

    hit: Hit
    team: Team | None


def team_draft(
    first: Sequence[Hit], second: Sequence[Hit], *, k: int, random: Random, key: Callable[[Hit], Hashable]
) -> list[Drafted]:
    """At most `k` hits, without duplicates by `key`. In each round a coin decides which team first takes its best hit left.

    The draft ends when one team has no hits left, because further hits of the other would get credit without
    competition. These hits fill up the list without a team.
    """
    lists: dict[Team, Sequence[Hit]] = {"a": first, "b": second}
    chosen: dict[Hashable, Drafted] = {}
    size: dict[Team, int] = {"a": 0, "b": 0}

    def best_left(team: Team) -> Hit | None:
        return next((hit for hit in lists[team] if key(hit) not in chosen), None)

    while len(chosen) < k:
        if size["a"] == size["b"]:
            if not (best_left("a") and best_left("b")):
                break
            team: Team = "a" if random.random() < 0.5 else "b"
        else:
            team = "a" if size["a"] < size["b"] else "b"
        hit = best_left(team)
        if hit is None:
            break
        chosen[key(hit)] = Drafted(hit, team)
        size[team] += 1
    for hit in (*first, *second):
        if len(chosen) < k:
            chosen.setdefault(key(hit), Drafted(hit, None))
    return list(chosen.values())


def interleave(first: SearchResult, second: SearchResult, random: Random) -> tuple[SearchResult, list[Drafted]]:
    """The interleaved result, and the team of each hit, which the result itself does not reveal.

    Scores, signals and percentiles are replaced by one over the rank, because they would reveal the model. `interpreted`
    and `facets` come from the first model; both models have the same images.
    """
    drafted = team_draft(
        first.hits,
        second.hits,
        k=max(len(first.hits), len(second.hits)),
        random=random,
        key=_key(first.interpreted.get("collapse", "none")),
    )
    hits = [
        replace(each.hit, score=1 / rank, parts={"rank": 1 / rank}, signals={}, percentiles={}, collapsed_count=0)
        for rank, each in enumerate(drafted, start=1)
    ]
    stages = dict.fromkeys([*first.timings_ms, *second.timings_ms])
    timings = {stage: first.timings_ms.get(stage, 0.0) + second.timings_ms.get(stage, 0.0) for stage in stages}
    result = SearchResult(
        model=f"{first.model}+{second.model}",
        collection=f"{first.collection}+{second.collection}",
        bundle_id=f"{first.bundle_id}+{second.bundle_id}",
        interpreted=first.interpreted,
        hits=hits,
        timings_ms=timings,
        facets=first.facets,
    )
    return result, drafted


def image_of(hit: Hit) -> tuple[str, str]:
    """Identity of an image, across datasets."""
    return hit.dataset, hit.image_id


def _key(collapse: str) -> Callable[[Hit], Hashable]:
    """The identity by which hits are duplicates: the image, or the study or report if the query collapses by these."""
    if collapse == "none":
        return image_of

    def group(hit: Hit) -> Hashable:
        texts = (hit.report["findings"], hit.report["impression"])
        return texts if collapse == "report" and any(texts) else (hit.dataset, hit.study_id)

    return group
