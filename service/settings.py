"""Settings of the service: environment variables with the prefix `CXR_SERVICE_`, overridden by command line options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from retrieval.imaging.decode import LIMIT_BYTES
from service.telemetry.logs import LogFormat


class ServiceSettings(BaseSettings):
    """Where the service listens, whom it answers and how much it accepts."""

    model_config = SettingsConfigDict(env_prefix="CXR_SERVICE_", extra="ignore")

    host: str = Field("127.0.0.1", description="Address to listen on; beyond loopback only with a valid key.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes any free one.")
    https: bool = Field(
        False,
        description="Set it where a proxy speaks HTTPS for the service: browsers then send the login over nothing else, and "
        "a valid key is needed.",
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        ("127.0.0.1", "localhost", "::1"),
        description="Names, comma-separated, that a request's Host header may carry; `*` for any. With others than this "
        "machine's a valid key is needed.",
    )
    upload_limit_bytes: int = Field(
        LIMIT_BYTES,
        ge=1,
        le=LIMIT_BYTES,
        description="Largest upload accepted, at most 64 MiB; the form around the image may add 256 KiB.",
    )
    json_limit_bytes: int = Field(256 * 1024, ge=1, description="Largest request body other than an upload.")
    head_timeout_s: float = Field(
        10.0,
        gt=0,
        description="Seconds from connecting, or from the last answer, in which a request's head must arrive.",
    )
    body_timeout_s: int = Field(
        120, ge=1, description="Seconds in which a request's body must have arrived, and its answer must be read."
    )
    connections: int = Field(
        512,
        ge=1,
        description="Open connections; for a further one, the one that has kept the service waiting longest is closed.",
    )
    connections_per_address: int = Field(
        256,
        ge=1,
        description="The same for one address, or one /64 of IPv6; behind a proxy, all connections come from its address.",
    )
    rate_per_minute: int = Field(
        600, ge=0, description="Requests a minute of one key, or of one address without a key; 0 for no limit."
    )
    audit: bool = Field(True, description="Record searches and opened studies; while that fails, they are refused.")
    audit_dir: Path | None = Field(None, description="Folder of the audit log; `<CXR_HOME>/audit` if unset.")
    exposure_days: int = Field(
        90,
        ge=1,
        description="Days for which it is kept what a search showed, and feedback on it; experiments are kept for good.",
    )
    concurrent_searches: int = Field(
        16, ge=1, description="Searches that run at once, encoded together; further ones wait their turn."
    )
    waiting_searches: int = Field(
        32, ge=0, description="Searches that may wait their turn; further ones are told to try again later (429)."
    )
    request_timeout_s: float = Field(30.0, gt=0, description="Seconds after which a request is given up (503 or 504).")
    batch_size: int = Field(
        32, ge=1, description="Texts, or images, of concurrent searches that a model encodes in one run, at most."
    )
    remembered_texts: int = Field(
        1024,
        ge=0,
        description="Texts whose vectors each model keeps in memory, so that the same words with other filters are not "
        "encoded again; 0 for none.",
    )
    shutdown_grace_s: float = Field(
        8.0,
        ge=0,
        description="Seconds in which the process ends when it is told to stop; requests that still run are cut off 2 s "
        "before, or at the half of a shorter period.",
    )
    drain_notice_s: float = Field(
        0.0,
        ge=0,
        description="Seconds to go on saying `draining`, for a load balancer to notice; a shorter grace period is extended "
        "by it.",
    )
    metrics: bool = Field(False, description="Serve metrics for Prometheus at `/metrics`.")
    tracing: bool = Field(
        False, description="Send OpenTelemetry spans where the `OTEL_` variables say; needs the extra `otel`."
    )
    log_format: LogFormat = Field("console", description="`console` for people, or `json`, one object a line.")

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
