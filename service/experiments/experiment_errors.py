"""What experiments and feedback refuse."""

from __future__ import annotations

from retrieval.errors import RetrievalError
from service.refusals import Refusal


class ExperimentsUnavailable(Refusal):
    """The file of experiments cannot be read or written."""

    code = "experiments_unavailable"
    http_status = 503


class UnknownExperiment(RetrievalError):
    """No experiment goes by this name."""

    code = "unknown_experiment"
    http_status = 404


class ExperimentExists(RetrievalError):
    """There is, or was, an experiment of this name."""

    code = "experiment_exists"
    http_status = 409


class ExperimentRunning(RetrievalError):
    """Another experiment runs already."""

    code = "experiment_running"
    http_status = 409


class ExperimentStopped(RetrievalError):
    """The experiment was stopped before."""

    code = "experiment_stopped"
    http_status = 409


class ModelsDiffer(RetrievalError):
    """The two models cannot be compared: their collections do not hold the same images, or one reads no texts."""

    code = "models_differ"
    http_status = 409


class NoWinner(RetrievalError):
    """The winner was to be made active, and there is none."""

    code = "no_winner"
    http_status = 409


class UnknownSearch(RetrievalError):
    """Feedback on a search that was never answered, or was forgotten since."""

    code = "unknown_search"
    http_status = 404


class NotShown(RetrievalError):
    """Feedback on an image that the search did not show."""

    code = "not_shown"
    http_status = 404
