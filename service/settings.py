"""Settings of the service: environment variables with the prefix `CXR_SERVICE_`, overridden by command line options."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from retrieval.imaging.decode import LIMIT_BYTES


class ServiceSettings(BaseSettings):
    """Where the service listens, whom it answers and how much it accepts."""

    model_config = SettingsConfigDict(env_prefix="CXR_SERVICE_", extra="ignore")

    host: str = Field("127.0.0.1", description="Address to listen on; only loopback unless `allow_remote`.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes any free one.")
    allow_remote: bool = Field(
        False,
        description="Listen on an address that others can reach. There is no login: only behind a closed network.",
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        ("127.0.0.1", "localhost", "::1"),
        description="Names, comma-separated, that a request's Host header may carry; `*` for any.",
    )
    upload_limit_bytes: int = Field(
        LIMIT_BYTES,
        ge=1,
        le=LIMIT_BYTES,
        description="Largest upload accepted, at most 64 MiB; the form around the image may add 256 KiB.",
    )
    json_limit_bytes: int = Field(256 * 1024, ge=1, description="Largest request body other than an upload.")
    concurrent_searches: int = Field(4, ge=1, description="Searches that run at once; further ones wait their turn.")

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
