"""`/metrics`: counts and times for Prometheus, without names of patients, studies or queries."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import HeaderParameter

from retrieval.catalog import Catalog
from retrieval.errors import RetrievalError
from service.access.scopes import ANY_KEY
from service.load.permits import SearchPermits
from service.telemetry.metrics import Metrics


class MetricsController(Controller):
    """Metrics. Where keys are in use any will do, so that what scrapes need not have one that reads cases."""

    path = "/metrics"
    include_in_schema = False
    opt = ANY_KEY

    @get()
    async def get_metrics(
        self,
        catalog: NamedDependency[Catalog],
        metrics: NamedDependency[Metrics],
        probe_permits: NamedDependency[SearchPermits],
        accept: Annotated[str, HeaderParameter(name="accept")] = "",
    ) -> Response[bytes]:
        """All metrics, in the text format that is asked for."""
        try:
            metrics.observe_models(await probe_permits.run(catalog.models))
        except RetrievalError:  # a metric of its own says so
            metrics.observe_models(None)
        content, media_type = metrics.render(accept)
        return Response(content, headers={"Content-Type": media_type})
