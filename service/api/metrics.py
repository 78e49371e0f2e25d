"""`/metrics`: counts and times for Prometheus, without patient data and without queries."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import HeaderParameter

from retrieval.catalog import Catalog
from retrieval.errors import RetrievalError
from service.access.scopes import ANY_KEY
from service.load.permits import Permits
from service.telemetry.metrics import Metrics


class MetricsController(Controller):
    """Metrics. A key of any scope is enough, so that Prometheus needs no key that can read cases."""

    path = "/metrics"
    include_in_schema = False
    opt = ANY_KEY

    @get()
    async def get_metrics(
        self,
        catalog: NamedDependency[Catalog],
        metrics: NamedDependency[Metrics],
        probe_permits: NamedDependency[Permits],
        accept: Annotated[str, HeaderParameter(name="accept")] = "",
    ) -> Response[bytes]:
        """All metrics, in the text format that the `Accept` header asks for."""
        try:
            metrics.observe_models(await probe_permits.run(catalog.models))
        except RetrievalError:  # `cxr_index_up` reports this
            metrics.observe_models(None)
        content, media_type = metrics.render(accept)
        return Response(content, headers={"Content-Type": media_type})
