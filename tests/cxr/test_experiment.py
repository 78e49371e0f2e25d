"""`cxr experiment start`, `status` and `stop`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from retrieval.errors import BundleMismatch, CountsDiffer, InvalidRequest, NoCollection, UnknownModel
from retrieval.model.bundle import ModelBundle
from service.experiments.entities import Exposure, Shadow, ShownHit
from service.experiments.experiment_errors import (
    ExperimentExists,
    ExperimentRunning,
    ExperimentStopped,
    ModelsDiffer,
    NoWinner,
    UnknownExperiment,
)
from service.experiments.store import ExperimentStore
from tests.cxr.command_runs import change_meta, document, invoke, read_active

START = ("experiment", "start", "e", "--models", "tiny-a,tiny-b", "--kind")


def search(home: Path, searches: int, *, clicked: str, kind: str = "interleave") -> None:
    """Record searches, each in its own session, with a click on a hit of that team."""
    store = ExperimentStore(home)
    hits = (ShownHit("d", "1", "1", "a"), ShownHit("d", "2", "2", "b"))
    for number in range(searches):
        team: Any = None if kind != "split" else "ab"[number % 2]
        store.add_exposures([Exposure(f"{number}", f"s{number}", hits, "e", team)])
        if team in (None, clicked):
            store.add_feedback(f"{number}", hits["ab".index(clicked)], "click", f"s{number}")
    store.close()


def test_an_experiment_from_start_to_the_activation_of_its_winner(tiny_home: Path) -> None:
    begun = document(*START, "interleave")
    assert (begun["name"], begun["kind"], begun["models"]) == ("e", "interleave", ["tiny-a", "tiny-b"])
    assert begun["stopped_at"] is None
    search(tiny_home, 7, clicked="b")
    undecided = document("experiment", "status", "e")
    assert undecided["wins"] == {"tiny-a": 0, "tiny-b": 7}
    assert (undecided["e_value"], undecided["winner"]) == (pytest.approx(16), None)
    assert undecided["verdict"] == "no difference shown yet"
    with pytest.raises(NoWinner, match="continues"):
        invoke("experiment", "stop", "e", "--use")
    assert document("experiment", "status", "e")["stopped_at"] is None
    assert read_active(tiny_home) == "cxr_tiny-a"

    store = ExperimentStore(tiny_home)
    hit = ShownHit("d", "2", "2", "b")
    store.add_exposures([Exposure("more", "more", (hit,), "e")])
    store.add_feedback("more", hit, "relevant", "more")
    store.close()
    assert "tiny-b wins" in invoke("experiment", "status", "e").stdout
    stopped = document("experiment", "stop", "e", "--use")
    assert (stopped["winner"], stopped["active"], read_active(tiny_home)) == ("tiny-b", "tiny-b", "cxr_tiny-b")
    with pytest.raises(ExperimentStopped):
        invoke("experiment", "stop", "e")
    with pytest.raises(ExperimentExists):
        invoke(*START, "split")


def test_a_winner_is_activated_under_the_conditions_of_cxr_use(tiny_home: Path) -> None:
    invoke(*START, "interleave")
    search(tiny_home, 9, clicked="b")
    change_meta(tiny_home, "tiny-b", complete=False)
    with pytest.raises(CountsDiffer):
        invoke("experiment", "stop", "e", "--use")
    assert document("experiment", "status", "e")["stopped_at"] is None
    assert read_active(tiny_home) == "cxr_tiny-a"


def test_the_result_of_a_stopped_experiment_stays(tiny_home: Path) -> None:
    invoke(*START, "interleave")
    search(tiny_home, 3, clicked="a")
    stopped = document("experiment", "stop", "e")
    store = ExperimentStore(tiny_home)
    assert store.prune(0) == 3
    store.close()
    del stopped["active"]
    assert document("experiment", "status", "e") == stopped
    assert document("experiment", "status") == {"experiments": [stopped]}
    assert stopped["wins"] == {"tiny-a": 3, "tiny-b": 0}


def test_a_split_and_a_shadow_show_their_measurements(tiny_home: Path) -> None:
    assert document(*START, "split", "--share", "20")["share"] == 20
    search(tiny_home, 4, clicked="a", kind="split")
    split = document("experiment", "status", "e")
    assert split["sessions_by_model"] == {"tiny-a": 2, "tiny-b": 2}
    assert split["successes"] == {"tiny-a": 2, "tiny-b": 0}
    assert split["estimate"] == -1
    assert "with a success" in invoke("experiment", "status", "e").stdout
    invoke("experiment", "stop", "e")
    invoke("experiment", "start", "s", "--models", "tiny-a,tiny-b", "--kind", "shadow")
    assert "running" in invoke("experiment", "status", "s").stdout
    store = ExperimentStore(tiny_home)
    for search_id, shadow in (
        ("x", Shadow("x", 10, 0.4, 5.0, 9.0)),
        ("y", Shadow("y", 10, 0.6, 7.0, 11.0)),
        ("z", Shadow("z", 10, error="index_error")),
    ):
        store.add_exposures([Exposure(search_id, "s", (), "s")])
        store.add_shadow(shadow)
    store.close()
    shown = document("experiment", "status", "s")
    assert (shown["compared"], shown["failed"], shown["overlap"]) == (2, {"index_error": 1}, 0.5)
    assert shown["latency_ms"]["tiny-b"]["p50"] == 10
    assert "50.0%" in invoke("experiment", "status", "s").stdout
    with pytest.raises(NoWinner):
        invoke("experiment", "stop", "s", "--use")


def test_only_comparable_models_are_accepted(tiny_home: Path) -> None:
    def start(models: str = "tiny-a,tiny-b", kind: str = "split", name: str = "e", *more: str) -> None:
        invoke("experiment", "start", name, "--kind", kind, "--models", models, *more)

    for models, error in (
        ("tiny-a,none", UnknownModel),
        ("tiny-a,phantom-clip", NoCollection),  # ships with the package
        ("tiny-a,tiny-a", InvalidRequest),
        ("tiny-a", InvalidRequest),
        ("tiny-a,tiny-b,tiny-c", InvalidRequest),
        ("tiny-a,", InvalidRequest),
    ):
        with pytest.raises(error):
            start(models)
    for arguments in (
        ("tiny-a,tiny-b", "race"),
        ("tiny-a,tiny-b", "split", "a name"),
        ("tiny-a,tiny-b", "split", "e", "--share", "0"),
        ("tiny-a,tiny-b", "split", "e", "--share", "100"),
        ("tiny-a,tiny-b", "interleave", "e", "--share", "10"),
    ):
        with pytest.raises(InvalidRequest):
            start(*arguments)
    change_meta(tiny_home, "tiny-b", counts={"indiana": 23})
    with pytest.raises(ModelsDiffer, match=r"24 of indiana.*23 of indiana"):
        start()
    change_meta(tiny_home, "tiny-b", counts={"indiana": 24}, complete=False)
    with pytest.raises(ModelsDiffer, match="is incomplete"):
        start()
    assert document("experiment", "status") == {"experiments": []}
    change_meta(tiny_home, "tiny-b", counts={"indiana": 24}, complete=True)
    manifest = tiny_home / "models" / "tiny-b" / "manifest.json"
    whole = manifest.read_text()
    manifest.write_text(json.dumps(json.loads(whole) | {"tokenization": None}))
    change_meta(tiny_home, "tiny-b", bundle_id=ModelBundle.load(manifest.parent).bundle_id)
    with pytest.raises(ModelsDiffer, match="tiny-b does not encode texts"):
        start()
    manifest.write_text(whole)
    with pytest.raises(BundleMismatch):
        start()
    change_meta(tiny_home, "tiny-b", bundle_id=ModelBundle.load(manifest.parent).bundle_id)
    start()
    with pytest.raises(ExperimentRunning, match="cxr experiment stop e"):
        start(name="f")


def test_an_unknown_experiment_is_an_error(tiny_home: Path) -> None:
    for command in ("status", "stop"):
        with pytest.raises(UnknownExperiment):
            invoke("experiment", command, "none")
    assert "no experiment yet" in invoke("experiment", "status").stderr
