"""An experiment of two models on a catalog that the test may change."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from retrieval.catalog import Catalog
from service.experiments.design import design_experiment
from service.experiments.entities import Experiment
from service.experiments.store import ExperimentStore


@pytest.fixture
def store(catalog: Catalog) -> Iterator[ExperimentStore]:
    store = ExperimentStore(catalog.settings.home)
    yield store
    store.close()


@pytest.fixture
def start_experiment(catalog: Catalog, store: ExperimentStore) -> Callable[..., Experiment]:
    def start_experiment(kind: str, share: float = 50.0, name: str = "e") -> Experiment:
        experiment = design_experiment(catalog, name=name, kind=kind, model_a="tiny-a", model_b="tiny-b", share=share)  # type: ignore[arg-type]
        store.start(experiment)
        return experiment

    return start_experiment
