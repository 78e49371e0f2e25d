"""The store of experiments, exposures, feedback and shadow comparisons: `<CXR_HOME>/experiments.sqlite`.

It holds random search ids, ids of the studies and images shown, names of models, and sessions as HMACs. It holds no
query, image, report or name of a key.
"""

from __future__ import annotations

import json
import time
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

from service.experiments.database import Database
from service.experiments.entities import Experiment, Exposure, FeedbackKind, Outcome, Shadow, ShownHit, Team
from service.experiments.experiment_errors import (
    ExperimentExists,
    ExperimentRunning,
    ExperimentStopped,
    NotShown,
    UnknownExperiment,
    UnknownSearch,
)

FILE_NAME = "experiments.sqlite"


class ExperimentStore:
    """The sqlite file, opened at first use; safe from several threads and several processes. All calls block.

    Every call may raise `ExperimentsUnavailable`, after about `wait_s`.
    """

    def __init__(self, home: Path, *, wait_s: float = 10.0, pause_s: float = 0.0) -> None:
        """`wait_s` and `pause_s` are as in `Database`."""
        self.path = home / FILE_NAME
        self._database = Database(self.path, wait_s=wait_s, pause_s=pause_s)

    def close(self) -> None:
        """Release the file; the next call opens it again."""
        self._database.close()

    def start(self, experiment: Experiment) -> None:
        """Start an experiment.

        Raises:
            ExperimentExists: the name was used before. ExperimentRunning: another experiment is running.
        """
        with self._database.transaction() as database:
            if database.execute("SELECT 1 FROM experiments WHERE name = ?", (experiment.name,)).fetchone():
                raise ExperimentExists(
                    f"the name {experiment.name!r} is or was used by an experiment; choose another name"
                )
            running = database.execute("SELECT name FROM experiments WHERE slot = 1").fetchone()
            if running:
                raise ExperimentRunning(
                    f"the experiment {running[0]!r} is running; run `cxr experiment stop {running[0]}` first"
                )
            database.execute(
                "INSERT INTO experiments VALUES (?, ?, ?, ?, ?, ?, ?, NULL, NULL, 1)",
                (
                    experiment.name,
                    experiment.kind,
                    experiment.model_a,
                    experiment.model_b,
                    experiment.share,
                    experiment.salt,
                    experiment.started_at,
                ),
            )

    def stop(self, name: str, result: dict[str, Any]) -> None:
        """Stop an experiment and store its result, which is kept when its exposures are pruned.

        Raises:
            UnknownExperiment: no experiment has this name. ExperimentStopped: it has already been stopped.
        """
        with self._database.transaction() as database:
            changed = database.execute(
                "UPDATE experiments SET stopped_at = ?, result = ?, slot = NULL WHERE name = ? AND slot = 1",
                (time.time(), json.dumps(result), name),
            ).rowcount
            if not changed:
                if database.execute("SELECT 1 FROM experiments WHERE name = ?", (name,)).fetchone():
                    raise ExperimentStopped(f"the experiment {name!r} has already been stopped")
                raise _unknown(name)

    def experiments(self) -> list[Experiment]:
        """All experiments, newest first."""
        rows = self._all(
            "SELECT name, kind, model_a, model_b, share, salt, started_at, stopped_at, result FROM experiments "
            "ORDER BY started_at DESC, name"
        )
        return [_experiment(*row) for row in rows]

    def experiment(self, name: str) -> Experiment:
        """One experiment.

        Raises:
            UnknownExperiment: no experiment has this name.
        """
        for experiment in self.experiments():
            if experiment.name == name:
                return experiment
        raise _unknown(name)

    def running(self) -> Experiment | None:
        """The running experiment, if there is one."""
        return next((each for each in self.experiments() if each.stopped_at is None), None)

    def add_exposures(self, exposures: list[Exposure]) -> None:
        """Record searches before they are answered, all or none."""
        now = time.time()
        rows = [
            (
                exposure.search_id,
                exposure.experiment,
                exposure.session,
                exposure.team,
                json.dumps([[hit.dataset, hit.study_id, hit.image_id, hit.team] for hit in exposure.shown]),
                now,
            )
            for exposure in exposures
        ]
        places = ", ".join(["(?, ?, ?, ?, ?, ?)"] * len(rows))
        with self._database.use() as database:
            # No wait for the disk: a power failure loses only searches without feedback, since feedback syncs the file.
            database.execute("PRAGMA synchronous=NORMAL")
            # One statement is a transaction by itself, and cheaper than an explicit one.
            database.execute(
                f"INSERT INTO exposures (search_id, experiment, session, team, shown, at) VALUES {places}",
                [value for row in rows for value in row],
            )

    def exposure(self, search_id: str) -> Exposure:
        """An answered search.

        Raises:
            UnknownSearch: no search has this id, or it has been deleted.
        """
        rows = self._all(
            "SELECT search_id, session, shown, experiment, team FROM exposures WHERE search_id = ?", search_id
        )
        if not rows:
            raise UnknownSearch(f"no search {search_id!r} is recorded; it may be too old")
        return _exposure(*rows[0])

    def find_shown(
        self, search_id: str, study_id: str, image_id: str, dataset: str | None
    ) -> tuple[Exposure, ShownHit]:
        """The search and the hit that feedback refers to.

        Raises:
            UnknownSearch: as `exposure`. NotShown: the search did not show this image.
        """
        exposure = self.exposure(search_id)
        for hit in exposure.shown:
            if (hit.study_id, hit.image_id) == (study_id, image_id) and dataset in (None, hit.dataset):
                return exposure, hit
        raise NotShown(f"the search {search_id} did not show the image {image_id!r} of the study {study_id!r}")

    def add_feedback(self, search_id: str, hit: ShownHit, kind: FeedbackKind, session: str) -> None:
        """Store feedback. The same feedback of the same session again only updates its time."""
        with self._database.transaction() as database:
            database.execute(
                "INSERT INTO feedback VALUES (?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (search_id, dataset, image_id, kind, session) DO UPDATE SET at = excluded.at",
                (search_id, hit.dataset, hit.image_id, kind, session, time.time()),
            )

    def add_shadow(self, shadow: Shadow) -> None:
        """Store the comparison with the second model's hidden answer."""
        with self._database.transaction() as database:
            database.execute(
                "INSERT OR REPLACE INTO shadows VALUES (?, ?, ?, ?, ?, ?)",
                (shadow.search_id, shadow.overlap, shadow.k, shadow.ms_a, shadow.ms_b, shadow.error),
            )

    def outcomes(self, experiment: str) -> list[Outcome]:
        """The searches of an experiment, in the order of their answers.

        An image is positive if a session's last rating of it is `relevant`, or if the session clicked it without rating it.
        """
        # Clicks come first, so that a session's last rating replaces its click.
        feedback = self._all(
            "SELECT search_id, dataset, image_id, session, kind FROM feedback "
            "WHERE search_id IN (SELECT search_id FROM exposures WHERE experiment = ?) ORDER BY kind <> 'click', at",
            experiment,
        )
        last = {tuple(row[:4]): row[4] for row in feedback}
        positive: dict[str, set[tuple[str, str]]] = {}
        for (search_id, dataset, image_id, _), kind in last.items():
            if kind != "not_relevant":
                positive.setdefault(search_id, set()).add((dataset, image_id))
        rows = self._all(
            "SELECT search_id, session, shown, experiment, team FROM exposures WHERE experiment = ? ORDER BY number",
            experiment,
        )
        return [Outcome(_exposure(*row), frozenset(positive.get(row[0], ()))) for row in rows]

    def shadows(self, experiment: str) -> list[Shadow]:
        """The comparisons with the second model's hidden answers in an experiment."""
        rows = self._all(
            "SELECT search_id, k, overlap, ms_a, ms_b, error FROM shadows JOIN exposures USING (search_id) "
            "WHERE experiment = ? ORDER BY number",
            experiment,
        )
        return [Shadow(*row) for row in rows]

    def prune(self, days: float) -> int:
        """Number of deleted searches: all older than `days`, with their feedback, except those of the running experiment."""
        with self._database.transaction() as database:
            old = (
                "SELECT search_id FROM exposures WHERE at < ? AND "
                "(experiment IS NULL OR experiment NOT IN (SELECT name FROM experiments WHERE slot = 1))"
            )
            limit = (time.time() - days * 86400,)
            database.execute(f"DELETE FROM feedback WHERE search_id IN ({old})", limit)
            database.execute(f"DELETE FROM shadows WHERE search_id IN ({old})", limit)
            return database.execute(f"DELETE FROM exposures WHERE search_id IN ({old})", limit).rowcount

    def _all(self, statement: str, *parameters: Any) -> list[Any]:
        if not self._database.exists:  # reading creates no file
            return []
        with self._database.use() as database:
            return database.execute(statement, parameters).fetchall()


def _experiment(*columns: Any) -> Experiment:
    *facts, result = columns
    values = dict(zip((field.name for field in fields(Experiment)), facts, strict=False))
    return Experiment(**values, result=result and json.loads(result))


def _exposure(search_id: str, session: str, shown: str, experiment: str | None, team: str | None) -> Exposure:
    hits = tuple(ShownHit(*hit) for hit in json.loads(shown))
    return Exposure(search_id, session, hits, experiment, cast("Team | None", team))


def _unknown(name: str) -> UnknownExperiment:
    return UnknownExperiment(f"there is no experiment {name!r}; list them with `cxr experiment status`")
