"""Team-draft interleaving, and its verdict with simulated users."""

from __future__ import annotations

import time
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from retrieval.search.hits import Hit, SearchResult
from service.experiments.analysis import UNDECIDED, summarize
from service.experiments.entities import Experiment, Exposure, ShownHit
from service.experiments.interleaving import image_of, interleave, team_draft
from service.experiments.routing import team_of
from service.experiments.shadow import compare
from service.experiments.store import ExperimentStore

HIT = Hit(
    study_id="", image_id="", dataset="d", view="frontal", score=0.5, parts={"image": 0.5}, signals={"image": 0.5},
    percentiles={"image": 99.0}, collapsed_count=0, present=[], uncertain=[], absent=[], qualified=[], from_indexing=[],
    from_text=[], problems=[], mesh=[], report={"findings": "", "impression": ""}, study_date="", image_sha256="",
)  # fmt: skip


def hits(names: str) -> list[Hit]:
    return [replace(HIT, study_id=name.lower(), image_id=name) for name in names]


def result(model: str, names: str, collapse: str = "none") -> SearchResult:
    return SearchResult(
        model=model,
        collection=f"cxr_{model}",
        bundle_id="x",
        interpreted={"collapse": collapse},
        hits=hits(names),
        timings_ms={"encode": 1.0, model: 2.0},
        facets={},
    )


def draft(first: str, second: str, k: int, seed: int) -> list[tuple[str, str | None]]:
    drafted = team_draft(hits(first), hits(second), k=k, random=Random(seed), key=image_of)
    return [(each.hit.image_id, each.team) for each in drafted]


def test_a_draft_alternates_as_in_the_paper() -> None:
    # Two lists without a common document: the winner of the coin toss begins each round.
    assert {tuple(draft("ab", "cd", 4, seed)) for seed in range(40)} == {
        (("a", "a"), ("c", "b"), ("b", "a"), ("d", "b")),
        (("a", "a"), ("c", "b"), ("d", "b"), ("b", "a")),
        (("c", "b"), ("a", "a"), ("b", "a"), ("d", "b")),
        (("c", "b"), ("a", "a"), ("d", "b"), ("b", "a")),
    }


def test_a_common_hit_is_shown_once_and_the_other_team_takes_its_next() -> None:
    for seed in range(20):
        drafted = draft("abc", "acb", 3, seed)
        assert drafted[0][0] == "a"
        assert sorted(name for name, _ in drafted) == ["a", "b", "c"]


def test_hits_left_when_the_other_team_has_none_get_no_team() -> None:
    for seed in range(20):
        drafted = draft("abc", "a", 3, seed)
        assert drafted in (
            [("a", "a"), ("b", None), ("c", None)],
            [("a", "b"), ("b", "a"), ("c", None)],
        )
    assert draft("", "abc", 2, 0) == [("a", None), ("b", None)]


names = st.lists(st.sampled_from("abcdefghijkl"), unique=True, max_size=10).map("".join)


@given(names, names, st.integers(1, 10), st.integers())
def test_drafts_are_fair_and_each_team_keeps_its_order(first: str, second: str, k: int, seed: int) -> None:
    drafted = draft(first, second, k, seed)
    shown = [name for name, _ in drafted]
    assert len(shown) == len(set(shown)) == min(k, len(set(first) | set(second)))
    teams = [team for _, team in drafted]
    assert abs(teams.count("a") - teams.count("b")) <= 1
    for team, ranked in (("a", first), ("b", second)):
        places = [ranked.index(name) for name, chosen in drafted if chosen == team]
        assert places == sorted(places)


def test_equal_lists_give_both_teams_equal_credit() -> None:
    firsts = [draft("abcd", "abcd", 4, seed)[0][1] for seed in range(2000)]
    assert 900 < firsts.count("a") < 1100


def test_an_interleaved_result_does_not_reveal_the_teams() -> None:
    one, two = result("tiny-a", "abcdef"), result("tiny-b", "fedcba")
    merged, drafted = interleave(one, two, Random(0))
    assert {each.team for each in drafted} == {"a", "b"}
    assert merged.model == "tiny-a+tiny-b"
    assert merged.timings_ms == {"encode": 2.0, "tiny-a": 2.0, "tiny-b": 2.0}
    for rank, hit in enumerate(merged.hits, start=1):
        assert (hit.score, hit.parts, hit.signals, hit.percentiles) == (1 / rank, {"rank": 1 / rank}, {}, {})


def test_collapsed_studies_stay_collapsed_when_the_models_show_different_images() -> None:
    one, two = result("a", "abc", "study"), result("b", "ABC", "study")
    merged, _ = interleave(one, two, Random(0))
    assert [hit.study_id for hit in merged.hits] == ["a", "b", "c"]


def test_overlap_counts_common_images_at_k() -> None:
    assert compare("x", result("a", "abcd"), result("b", "dcxy")).overlap == 0.5
    assert compare("x", result("a", "abcd"), result("b", "ab")).overlap == 0.5
    assert compare("x", result("a", ""), result("b", "")).overlap == 1.0


def experiment(kind: str, share: float = 50.0, salt: bytes = b"s" * 32) -> Experiment:
    return Experiment("e", kind, "m-a", "m-b", share, salt, time.time())  # type: ignore[arg-type]


@pytest.mark.parametrize("share", [5.0, 50.0, 80.0])
def test_sessions_are_split_by_the_share_and_keep_their_model(share: float) -> None:
    sessions = [f"session {n}" for n in range(4000)]
    teams = [team_of(experiment("split", share), session) for session in sessions]
    assert teams == [team_of(experiment("split", share), session) for session in sessions]
    assert abs(teams.count("b") / 40 - share) < 2.5
    other = [team_of(experiment("split", share, b"t" * 32), session) for session in sessions]
    agree = sum(a == b for a, b in zip(teams, other, strict=True)) / 4000
    assert abs(agree - ((share / 100) ** 2 + (1 - share / 100) ** 2)) < 0.05  # another salt, another draw


def simulate(store: ExperimentStore, preference: float, sessions: int, seed: int) -> None:
    """Users who search once and click a hit of A with probability `preference`, else a hit of B."""
    random = Random(seed)
    exposures = []
    picks = []
    for number in range(sessions):
        drafted = team_draft(hits("abcdef"), hits("ghijkl"), k=6, random=random, key=image_of)
        shown = tuple(ShownHit("d", each.hit.study_id, each.hit.image_id, each.team) for each in drafted)
        exposures.append(Exposure(f"{number}", f"user {number}", shown, "e"))
        wanted = "abcdef" if random.random() < preference else "ghijkl"
        picks.append(next(hit for hit in shown if hit.image_id in wanted))
    store.add_exposures(exposures)
    for exposure, pick in zip(exposures, picks, strict=True):
        store.add_feedback(exposure.search_id, pick, "click", exposure.session)


@pytest.mark.parametrize(("preference", "winner"), [(0.6, "m-a"), (0.4, "m-b")])
def test_two_thousand_simulated_users_who_prefer_a_model_make_it_the_winner(
    tmp_path: Path, preference: float, winner: str
) -> None:
    store = ExperimentStore(tmp_path)
    with store._database.use() as database:  # no waits for the disk
        database.execute("PRAGMA synchronous=OFF")
    simulate(store, preference, 2000, seed=1)
    summary = summarize(store, experiment("interleave"))
    store.close()
    assert summary["exposures"] == summary["sessions"] == 2000
    assert sum(summary["wins"].values()) == 2000
    assert summary["winner"] == winner
    assert summary["verdict"] == f"{winner} wins"
    low, high = summary["interval"]
    assert low < preference < high


def test_a_search_is_won_by_the_team_with_more_positive_hits(tmp_path: Path) -> None:
    store = ExperimentStore(tmp_path)
    shown = tuple(
        ShownHit("d", n, n, team) for n, team in (("1", "a"), ("2", "b"), ("3", "a"), ("4", "b"), ("5", None))
    )  # type: ignore[arg-type]
    clicked = {"won": "13", "lost": "24", "tied": "12", "nobody's": "5", "silent": ""}
    for name, places in clicked.items():
        store.add_exposures([Exposure(name, "s", shown, "e")])
        for place in places:
            store.add_feedback(name, shown[int(place) - 1], "relevant", "s")
    summary = summarize(store, experiment("interleave"))
    store.close()
    assert (summary["wins"], summary["ties"], summary["without_feedback"]) == ({"m-a": 1, "m-b": 1}, 1, 2)
    assert (summary["verdict"], summary["winner"], summary["sessions"]) == (UNDECIDED, None, 1)


def test_a_split_counts_each_session_once(tmp_path: Path) -> None:
    store = ExperimentStore(tmp_path)
    hit = ShownHit("d", "1", "1")
    for search, (session, team) in enumerate([("x", "a"), ("x", "a"), ("y", "b"), ("z", "b"), ("z", "b")]):
        store.add_exposures([Exposure(str(search), session, (hit,), "e", team)])  # type: ignore[arg-type]
    for search in ("0", "1", "4"):
        store.add_feedback(search, hit, "click", "s")
    summary = summarize(store, experiment("split"))
    store.close()
    assert summary["sessions_by_model"] == {"m-a": 1, "m-b": 2}
    assert summary["successes"] == {"m-a": 1, "m-b": 1}
    assert summary["estimate"] == pytest.approx(-0.5)
