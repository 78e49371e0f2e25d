"""Experiments over HTTP: which model answers, what is stored, and that searches work when something fails."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

import cxr.main
from archives.dicom.pseudonyms import hash_uid, load_salt
from retrieval.catalog import Catalog
from service.experiments.analysis import summarize
from service.experiments.entities import Experiment
from service.experiments.routing import team_of
from service.experiments.store import FILE_NAME, ExperimentStore
from tests.service.conftest import Client, connect
from tests.service.live import serving, until

SEARCH = "/v1/search/text"


def search(client: Client, *, session: str | None = None, **query: Any) -> dict[str, Any]:
    headers = {"x-cxr-session": session} if session else {}
    answer = client.post(SEARCH, json={"text": "heart enlarged", "k": 5} | query, headers=headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def give_feedback(
    client: Client, found: dict[str, Any], rank: int = 0, kind: str = "click", session: str | None = None
) -> Any:
    hit = found["hits"][rank]
    said = {"search_id": found["search_id"], "kind": kind} | {name: hit[name] for name in ("study_id", "image_id")}
    return client.post("/v1/feedback", json=said, headers={"x-cxr-session": session} if session else {})


def images(found: dict[str, Any]) -> list[str]:
    return [hit["image_id"] for hit in found["hits"]]


def test_every_kind_of_search_has_its_own_id(client: Client, png: bytes) -> None:
    answers = [
        client.post("/v1/search", json={"text": "heart"}).json(),
        client.post(SEARCH, json={"text": "heart", "model": "tiny-b"}).json(),
        client.post("/v1/search/image", files={"image": ("a.png", png)}).json(),
        client.get("/v1/studies/1/similar").json(),
        *client.post("/v1/search/batch", json={"queries": [{"text": "heart"}, {"text": "heart"}]}).json()["results"],
    ]
    ids = [answer["search_id"] for answer in answers]
    assert len(set(ids)) == 6 and all(re.fullmatch("[0-9a-f]{32}", each) for each in ids)
    assert {answer["experiment"] for answer in answers} == {None}
    assert all(give_feedback(client, answer).status_code == 200 for answer in answers)


def test_a_split_gives_each_session_one_model_in_every_kind_of_search(
    own_client: Client, start_experiment: Callable[..., Experiment], catalog: Catalog, png: bytes
) -> None:
    experiment = start_experiment("split", share=40)
    seen = set()
    for number in range(12):
        session, headers = f"user {number}", {"x-cxr-session": f"user {number}"}
        hashed = hash_uid(load_salt(catalog.settings.home), f"session header  {session}")
        model = experiment.model_of(team_of(experiment, hashed))
        answers = [
            own_client.post("/v1/search", json={"text": "heart"}, headers=headers).json(),
            own_client.post(SEARCH, json={"text": "heart"}, headers=headers).json(),
            own_client.post("/v1/search/image", files={"image": ("a.png", png)}, headers=headers).json(),
            own_client.get("/v1/studies/1/similar", headers=headers).json(),
            own_client.post("/v1/search/batch", json={"queries": [{"text": "heart"}]}, headers=headers).json()[
                "results"
            ][0],
        ]
        assert {(each["model"], each["experiment"]) for each in answers} == {(model, "e")}
        seen.add(model)
    assert seen == {"tiny-a", "tiny-b"}


def test_a_search_that_names_a_model_is_outside_the_experiment(
    own_client: Client, start_experiment: Callable[..., Experiment], store: ExperimentStore
) -> None:
    start_experiment("interleave")
    found = search(own_client, model="tiny-b")
    assert (found["model"], found["experiment"]) == ("tiny-b", None)
    assert store.outcomes("e") == []
    assert give_feedback(own_client, found).status_code == 200


def test_an_interleaved_answer_has_hits_of_both_models_without_naming_them(
    own_client: Client, start_experiment: Callable[..., Experiment], store: ExperimentStore
) -> None:
    lists = {model: images(search(own_client, model=model)) for model in ("tiny-a", "tiny-b")}
    start_experiment("interleave")
    time.sleep(1.1)  # the service reads the store once a second
    found = search(own_client)
    assert (found["experiment"], found["model"]) == ("e", "tiny-a+tiny-b")
    assert len(set(images(found))) == 5
    assert set(images(found)) <= {*lists["tiny-a"], *lists["tiny-b"]}
    assert images(found)[0] in (lists["tiny-a"][0], lists["tiny-b"][0])
    for rank, hit in enumerate(found["hits"], start=1):
        assert (hit["score"], hit["parts"], hit["signals"]) == (1 / rank, {"rank": 1 / rank}, {})
    assert "team" not in str(found)
    (outcome,) = store.outcomes("e")
    assert [hit.image_id for hit in outcome.exposure.shown] == images(found)
    for hit in outcome.exposure.shown:
        assert hit.team in ("a", "b")
        assert hit.image_id in lists["tiny-a" if hit.team == "a" else "tiny-b"]


def test_clicks_on_the_hits_of_one_model_make_it_the_winner(
    own_client: Client, start_experiment: Callable[..., Experiment], store: ExperimentStore
) -> None:
    experiment = start_experiment("interleave")
    for number in range(9):
        found = search(own_client, session=f"user {number}", k=8)
        shown = store.exposure(found["search_id"]).shown
        rank = next(rank for rank, hit in enumerate(shown) if hit.team == "b")
        assert give_feedback(own_client, found, rank, session=f"user {number}").status_code == 200
    summary = summarize(store, experiment)
    assert summary["wins"] == {"tiny-a": 0, "tiny-b": 9}
    assert (summary["winner"], summary["verdict"]) == ("tiny-b", "tiny-b wins")


def test_a_shadow_search_runs_after_the_answer_and_does_not_change_it(
    own_client: Client, start_experiment: Callable[..., Experiment], store: ExperimentStore, catalog: Catalog
) -> None:
    plain = search(own_client, model="tiny-a")
    unseen = search(own_client, model="tiny-b")
    experiment = start_experiment("shadow")
    time.sleep(1.1)
    found = search(own_client)
    assert (found["model"], found["experiment"]) == ("tiny-a", "e")
    assert found["hits"] == plain["hits"]
    until(lambda: bool(store.shadows("e")))
    (shadow,) = store.shadows("e")
    assert shadow.search_id == found["search_id"]
    assert shadow.overlap == len({*images(plain)} & {*images(unseen)}) / 5
    summary = summarize(store, experiment)
    assert summary["overlap"] == shadow.overlap
    assert summary["latency_ms"]["tiny-a"]["p50"] > 0 and summary["latency_ms"]["tiny-b"]["p95"] > 0


def test_a_shadow_search_that_hangs_or_fails_does_not_affect_searches(
    start_experiment: Callable[..., Experiment],
    store: ExperimentStore,
    catalog: Catalog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    experiment = start_experiment("shadow")
    gate = threading.Event()
    encoder = catalog.retriever("tiny-b").encoder

    def fail(texts: Any) -> Any:
        assert gate.wait(20)
        raise RuntimeError("the second model is broken")

    monkeypatch.setattr(encoder, "encode_texts", fail)
    with serving(catalog) as live:
        answers = [live.post(f"heart {number}") for number in range(15)]
        assert [answer.status_code for answer in answers] == [200] * 15
        assert {answer.json()["model"] for answer in answers} == {"tiny-a"}
        gate.set()
        # Eight run or wait; further ones are skipped.
        until(lambda: summarize(store, experiment)["failed"] == {"RuntimeError": 8})
    assert summarize(store, experiment)["exposures"] == 15


def test_a_running_service_notices_the_start_and_end_of_an_experiment(
    own_client: Client, start_experiment: Callable[..., Experiment], store: ExperimentStore
) -> None:
    assert search(own_client)["experiment"] is None
    start_experiment("interleave")
    until(lambda: search(own_client)["experiment"] == "e", limit_s=3)
    store.stop("e", {})
    until(lambda: search(own_client)["experiment"] is None, limit_s=3)


def test_the_commands_work_while_a_service_has_the_index_open(own_client: Client) -> None:
    for model in ("tiny-a", "tiny-b"):
        search(own_client, model=model)
    begun = CliRunner().invoke(
        cxr.main.app, ["experiment", "start", "e", "--kind", "interleave", "--models", "tiny-a,tiny-b"]
    )
    assert begun.exception is None
    until(lambda: search(own_client)["experiment"] == "e", limit_s=3)
    shown = CliRunner().invoke(cxr.main.app, ["experiment", "status", "e", "--json"])
    assert json.loads(shown.stdout)["exposures"] == 1
    assert CliRunner().invoke(cxr.main.app, ["experiment", "stop", "e"]).exception is None
    until(lambda: search(own_client)["experiment"] is None, limit_s=3)


def test_each_search_of_a_batch_is_interleaved_by_itself(
    own_client: Client, start_experiment: Callable[..., Experiment], store: ExperimentStore
) -> None:
    start_experiment("interleave")
    queries = [{"text": "heart", "k": 3}, {"text": "small effusion", "k": 6}]
    results = own_client.post("/v1/search/batch", json={"queries": queries}).json()["results"]
    assert [len(result["hits"]) for result in results] == [3, 6]
    assert {result["model"] for result in results} == {"tiny-a+tiny-b"}
    for result in results:
        assert images(result) == [hit.image_id for hit in store.exposure(result["search_id"]).shown]
    assert len(store.outcomes("e")) == 2


def test_the_active_model_answers_when_a_model_was_dropped(
    own_client: Client, start_experiment: Callable[..., Experiment], catalog: Catalog, store: ExperimentStore
) -> None:
    start_experiment("split", share=99)
    catalog.drop("tiny-b")
    found = search(own_client)
    assert (found["model"], found["experiment"]) == ("tiny-a", None)
    assert give_feedback(own_client, found).status_code == 200


def test_errors_of_clients_are_refused_as_without_an_experiment(
    own_client: Client, start_experiment: Callable[..., Experiment]
) -> None:
    start_experiment("interleave")
    answer = own_client.post(SEARCH, json={"text": "heart", "filters": {"all": ["Nonsense"]}})
    assert (answer.status_code, answer.json()["code"]) == (400, "unknown_finding")
    assert own_client.get("/v1/studies/none/similar").status_code == 404


def test_searches_are_answered_while_the_store_is_unusable(catalog: Catalog) -> None:
    (catalog.settings.home / FILE_NAME).write_bytes(b"no database" * 1000)
    with connect(catalog) as client:
        found = search(client)
        assert len(found["hits"]) == 5
        assert (found["search_id"], found["experiment"]) == (None, None)
        refused = give_feedback(client, found | {"search_id": "x"})
        assert (refused.status_code, refused.json()["code"]) == (503, "experiments_unavailable")
        assert client.get("/?text=heart").status_code == 200
