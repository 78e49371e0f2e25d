"""The HTTP API and the web page. The only home of litestar."""

import retrieval  # noqa: F401  first: it switches the telemetry of other libraries off
