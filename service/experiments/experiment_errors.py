"""Errors of experiments and feedback."""

from __future__ import annotations

from retrieval.errors import RetrievalError
from service.refusals import Refusal


class ExperimentsUnavailable(Refusal):
    """The file of experiments cannot be read or written."""

    code = "experiments_unavailable"
    http_status = 503


class UnknownExperiment(RetrievalError):
    """No experiment has this name."""

    code = "unknown_experiment"
    http_status = 404


class ExperimentExists(RetrievalError):
    """The name is or was used by an experiment."""

    code = "experiment_exists"
    http_status = 409


class ExperimentRunning(RetrievalError):
    """Another experiment is running."""

    code = "experiment_running"
    http_status = 409


class ExperimentStopped(RetrievalError):
    """The experiment has already been stopped."""

    code = "experiment_stopped"
    http_status = 409


class ModelsDiffer(RetrievalError):
    """The models cannot be compared: their collections hold different images, or only one model encodes texts."""

    code = "models_differ"
    http_status = 409


class NoWinner(RetrievalError):
    """The winner cannot be made active, because there is none."""

    code = "no_winner"
    http_status = 409


class UnknownSearch(RetrievalError):
    """Feedback on a search that was never answered, or has been deleted."""

    code = "unknown_search"
    http_status = 404


class NotShown(RetrievalError):
    """Feedback on an image that the search did not show."""

    code = "not_shown"
    http_status = 404
