"""A real server, killed or stopped at random moments of each command: it ends complete or says what to do.

Failures show the seed and the strike. `CXR_TEST_KILL_SEED` sets another seed.
"""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass

import pytest

from tests.qdrant.node import QdrantNode
from tests.recovery.server_site import NAME, Ended, Site
from tests.recovery.state import differences
from tests.recovery.strikes import random_strike
from tests.repetitions import repetitions

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

SEED = int(os.environ.get("CXR_TEST_KILL_SEED", "41"))
MOMENTS = repetitions(4, 20)
ATTEMPTS = 3 * MOMENTS


@dataclass(frozen=True)
class Command:
    """A command, what must be there before it, and how it is repeated after a failure.

    With commands `before` it, its effect is undone before each strike; else the server is emptied.
    """

    arguments: list[str]
    before: tuple[list[str], ...] = ()
    again: tuple[str, ...] = ()


def commands(site: Site) -> dict[str, Command]:
    parts = tuple([*site.ingest, "--worker", f"{part}/2"] for part in (1, 2))
    source = ["--index", str(site.home / "index")]
    return {
        "ingest": Command(site.ingest),
        "finish": Command(["ingest", "finish", "--model", "tiny"], before=parts),
        "push": Command(["push", "tiny", *source, "--to", site.node.url]),
        "restore": Command(["snapshot", "restore", str(site.snapshot)], again=("--recreate",)),
    }


@pytest.mark.parametrize("name", ["ingest", "finish", "push", "restore"])
def test_a_command_whose_server_is_killed_or_stopped_ends_complete_or_says_what_to_do(site, name, capsys):
    command = commands(site)[name]
    rng = random.Random(f"{SEED} {name}")
    site.empty()
    prepare(site, command)
    started = time.monotonic()
    assert site.run(command.arguments).code == 0
    took_s = time.monotonic() - started
    expected = site.state()
    assert expected.meta.complete and expected.aliases == {"cxr": NAME}
    moments = given_up = 0
    for _ in range(ATTEMPTS):
        strike = random_strike(rng, took_s, is_long=rng.random() < 0.3)
        is_long = strike.down_s is None
        where = (SEED, name, strike)
        prepare(site, command)
        ended = strike.during(site.node, lambda: site.run(command.arguments, patience_s=1 if is_long else 60))  # noqa: B023
        if ended is None:  # it was done before the strike
            continue
        moments += 1
        assert "Traceback" not in ended.output, (where, str(ended))
        if is_long:
            found = site.doctor()
            assert found.code == 1 and "does not answer" in found.output, (where, str(found))
            strike.undo(site.node)
        if ended.code != 0:
            given_up += 1
            assert is_long, (where, str(ended))
            assert_says_what_to_do(ended, site.node, where)
            assert_doctor_names_an_incomplete_collection(site, where)
            repeated = [*command.arguments, *(command.again if NAME in site.node.collections() else ())]
            ended = site.run(repeated)
        assert ended.code == 0, (where, str(ended))
        assert differences(site.state(), expected) == [], where
        healthy = site.doctor()
        assert healthy.code == 0, (where, str(healthy))
        if moments == MOMENTS:
            break
    assert moments == MOMENTS, f"seed {SEED}: {name} ended before most strikes"
    with capsys.disabled():
        print(f"\n{name}: {moments} strikes, given up {given_up} times, seed {SEED}", end=" ")


def prepare(site: Site, command: Command) -> None:
    if command.before and NAME in site.node.collections():
        undo_finish(site)
        return
    site.empty()
    for arguments in command.before:
        ended = site.run(arguments)
        assert ended.code == 0, str(ended)


def undo_finish(site: Site) -> None:
    """Make the collection incomplete and inactive, as the last part of an ingest leaves it."""
    incomplete = {"complete": False, "calibration": {}, "counts": {}}
    site.node.result("PATCH", f"/collections/{NAME}", {"metadata": incomplete})
    for alias in site.node.result("GET", "/aliases")["aliases"]:
        delete = {"actions": [{"delete_alias": {"alias_name": alias["alias_name"]}}]}
        site.node.result("POST", "/collections/aliases", delete)


def assert_says_what_to_do(ended: Ended, node: QdrantNode, where: object) -> None:
    """A command that gives up names the server, and does it in one line."""
    last = ended.output.strip().splitlines()[-1]
    assert ended.code == 1 and node.url in last, (where, str(ended))
    assert "answer" in last or "busy" in last, (where, last)


def assert_doctor_names_an_incomplete_collection(site: Site, where: object) -> None:
    if NAME not in site.node.collections():
        return
    metadata = site.node.result("GET", f"/collections/{NAME}")["config"].get("metadata") or {}
    found = site.doctor()
    if metadata.get("complete"):  # the answer to the last request was lost
        assert found.code == 0, (where, str(found))
    elif "dim" in metadata:
        assert found.code == 3 and "complete" in found.output, (where, str(found))
