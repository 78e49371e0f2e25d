"""Facts about one request, for log, metrics and span."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class ObservedRequest:
    """One request and its answer, without patient data: the route instead of the path, and no query."""

    request_id: str
    method: str
    route: str = "(none)"
    """Template of the route; `(none)` if no route matches."""
    status: int | None = None
    code: str | None = None
    """Code of the problem document, if the answer is one."""
    size_bytes: int = 0
    """Size of the answer's body."""
    stages_ms: dict[str, float] = field(default_factory=dict)
    elapsed_ms: float = 0.0
