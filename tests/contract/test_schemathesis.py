"""Random valid and invalid requests for every operation: answers match the OpenAPI document and are never 5xx."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from retrieval.catalog import Catalog
from retrieval.settings import RetrievalSettings
from tests.conftest import copy_home
from tests.contract.test_openapi import PATHS
from tests.service.live import serving

CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)


@pytest.fixture(scope="module")
def api(tiny_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The OpenAPI document of a running service with two tiny models."""
    home = copy_home(tiny_template, tmp_path_factory.mktemp("fuzzed") / "home")
    with Catalog(RetrievalSettings(home=home, device="cpu")) as catalog, serving(catalog) as live:
        yield schemathesis.openapi.from_url(f"http://127.0.0.1:{live.port}/schema/openapi.json")


@pytest.mark.parametrize(("method", "path"), sorted(PATHS))
def test_every_operation_answers_as_documented_without_server_errors(api: Any, method: str, path: str) -> None:
    statuses = set()

    @settings(
        max_examples=60,
        derandomize=True,  # the same examples in every run; raise max_examples to search further
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
    @given(case=api[path][method].as_strategy())
    def check(case: Any) -> None:
        answer = case.call_and_validate(checks=CHECKS, timeout=20)
        statuses.add(answer.status_code)

    check()
    assert statuses
