"""Settings of the service: environment variables with the prefix `CXR_SERVICE_`, overridden by command line options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from retrieval.imaging.decode import LIMIT_BYTES

LogFormat = Literal["console", "json"]

_DEFAULT_PORTS = {"http": 80, "https": 443}


def parse_origin(address: str) -> str:
    """The origin of a page at `address` as browsers write it: scheme, host, and port unless it is the scheme's own.

    Raises:
        ValueError: not an http or https address, or more than an origin.
    """
    parts = urlsplit(address.strip().lower())
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or parts.username is not None:
        raise ValueError(f"expected an origin such as https://qdrant.example.org, found {address!r}")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(f"expected an origin without a path, found {address!r}")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + ("" if parts.port in (None, _DEFAULT_PORTS[parts.scheme]) else f":{parts.port}")


class ServiceSettings(BaseSettings):
    """Settings of the service: listening address, access control, limits."""

    model_config = SettingsConfigDict(env_prefix="CXR_SERVICE_", extra="ignore")

    host: str = Field("127.0.0.1", description="Address to listen on. Beyond loopback, a valid key is required.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    https: bool = Field(
        False,
        description="Set it behind a proxy that serves HTTPS. Browsers then send the login over HTTPS only, and a valid key "
        "is required.",
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        ("127.0.0.1", "localhost", "::1"),
        description="Names accepted in the Host header, comma-separated; `*` accepts any. Names other than this machine's "
        "require a valid key.",
    )
    dashboard_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Origins of the Qdrant dashboard, such as `https://qdrant.example.org`, comma-separated: their pages "
        "may show thumbnails to browsers that are logged in here.",
    )
    upload_limit_bytes: int = Field(
        LIMIT_BYTES,
        ge=1,
        le=LIMIT_BYTES,
        description="Largest upload, at most 64 MiB. The form around the image may add 256 KiB.",
    )
    json_limit_bytes: int = Field(256 * 1024, ge=1, description="Largest request body other than an upload.")
    head_timeout_s: float = Field(
        10.0,
        gt=0,
        description="Timeout for request headers, in seconds, from the connection or the previous response.",
    )
    body_timeout_s: int = Field(
        120, ge=1, description="Timeout for a request body, and for the client to read the response, in seconds."
    )
    connections: int = Field(
        512,
        ge=1,
        description="Largest number of open connections. A further one closes a connection that waits for its client.",
    )
    connections_per_address: int = Field(
        256,
        ge=1,
        description="Largest number of connections per client address (IPv6: per /64). A proxy counts as one address.",
    )
    rate_per_minute: int = Field(
        600,
        ge=0,
        description="Rate limit: requests per minute per key, or per client address without a key; 0 disables it.",
    )
    audit: bool = Field(
        True, description="Record searches and opened studies in the audit log. If that fails, the request gets 503."
    )
    audit_dir: Path | None = Field(None, description="Folder of the audit log; `<CXR_HOME>/audit` if unset.")
    exposure_days: int = Field(
        90,
        ge=1,
        description="Retention of shown hits and of feedback on them, in days. Experiments are never deleted.",
    )
    concurrent_searches: int = Field(
        16, ge=1, description="Searches that run at the same time. Their texts and images are encoded together."
    )
    waiting_searches: int = Field(32, ge=0, description="Queue length of searches. Excess requests get 429.")
    request_timeout_s: float = Field(
        30.0, gt=0, description="Timeout of a request, in seconds: 503 if it still waits, 504 if it runs."
    )
    batch_size: int = Field(
        32, ge=1, description="Largest batch: texts or images of concurrent searches that a model encodes in one run."
    )
    remembered_texts: int = Field(
        1024,
        ge=0,
        description="Size of each model's cache of text vectors; 0 disables it.",
    )
    shutdown_grace_s: float = Field(
        8.0,
        ge=0,
        description="Seconds from the stop signal to the end of the process. Running requests are cut off 2 s before the "
        "end, or halfway if the period is shorter than 4 s.",
    )
    drain_notice_s: float = Field(
        0.0,
        ge=0,
        description="Seconds to keep answering `draining`, so that a load balancer notices. A shorter grace period is "
        "extended.",
    )
    metrics: bool = Field(False, description="Serve metrics for Prometheus at `/metrics`.")
    tracing: bool = Field(
        False, description="Send OpenTelemetry spans as the `OTEL_` variables say; needs the extra `otel`."
    )
    log_format: LogFormat = Field("console", description="`console` for people, or `json` with one object per line.")

    @field_validator("dashboard_origins")
    @classmethod
    def _check_origins(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(parse_origin(value) for value in values)

    @field_validator("allowed_hosts", "dashboard_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
