"""Facts about one request, for log, metrics and span."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class ObservedRequest:
    """One request and its answer, in terms that name no patient: the route stands for the path, the query is left out."""

    request_id: str
    method: str
    route: str = "(none)"
    """Template of the route; `(none)` where no route fits."""
    status: int | None = None
    code: str | None = None
    """Of the problem that was answered, if one was."""
    size_bytes: int = 0
    """Of the answer's body."""
    stages_ms: dict[str, float] = field(default_factory=dict)
    elapsed_ms: float = 0.0
