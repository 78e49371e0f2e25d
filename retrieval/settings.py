"""Settings of the engine: environment variables with the prefix `CXR_`; command line options override them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from retrieval.atomic_files import NOTES
from retrieval.index_address import is_miswritten, is_server, redact

Device = Literal["auto", "cpu", "cuda"]


class RetrievalSettings(BaseSettings):
    """Places of models and index, access to a server, and the device."""

    model_config = SettingsConfigDict(env_prefix="CXR_", extra="ignore")

    home: Path = Field(
        Path.home() / ".cxr", description="Folder that holds `models/`, `index/`, `media/`, `ledger/` and `salt`."
    )
    index: str | None = Field(
        None,
        repr=False,
        description="URL of a Qdrant server, URLs of the nodes of one cluster with commas between them, or a folder for the "
        "embedded index; `<CXR_HOME>/index` if unset.",
    )
    index_api_key: SecretStr | None = Field(None, description="API key of the Qdrant server, or token (JWT).")
    index_search_timeout_s: int = Field(
        10, ge=1, description="Seconds that one search may wait for the Qdrant server, all its requests together."
    )
    index_timeout_s: int = Field(
        30, ge=1, description="Seconds to wait for one answer of the Qdrant server to anything but a search."
    )
    index_ca_file: Path | None = Field(
        None,
        description="PEM file of the authority that signed the Qdrant server's certificate; the system's if unset.",
    )
    index_patience_s: int = Field(
        300, ge=0, description="Seconds for which a write is retried while the server is unavailable."
    )
    public_url: str | None = Field(
        None,
        description="Address at which browsers reach the service, such as `https://cxr.example.org`. Ingested images then "
        "carry a link to their thumbnail, which the Qdrant dashboard shows.",
    )
    device: Device = Field("auto", description="`auto`, `cpu` or `cuda`; `cuda` fails if there is no usable GPU.")
    threads: int = Field(0, ge=0, description="Threads of an ONNX session; 0 is one per core.")

    @field_validator("index_api_key")
    @classmethod
    def _check_api_key(cls, value: SecretStr | None) -> SecretStr | None:
        """`value` without the blanks and line ends that a file of secrets may add; empty counts as unset."""
        key = value.get_secret_value().strip() if value else ""
        if not (key.isascii() and key.isprintable()):
            raise ValueError("a key has letters, digits and signs of ASCII, and no line end within")
        return SecretStr(key) if key else None

    @field_validator("index")
    @classmethod
    def _strip(cls, value: str | None) -> str | None:
        return value.strip() if value else value

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, value: str | None) -> str | None:
        """`value` without a slash at its end; empty counts as unset."""
        if not value:
            return None
        parts = urlsplit(value)
        is_address = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        if not is_address or parts.username is not None or parts.query or parts.fragment:
            raise ValueError("expected http://host or https://host, with port and path if needed, and nothing else")
        return value.rstrip("/")

    @property
    def models_dir(self) -> Path:
        """Folder of the installed bundles."""
        return self.home / "models"

    @property
    def media_dir(self) -> Path:
        """Folder of the thumbnails."""
        return self.home / "media"

    @property
    def index_folder(self) -> Path | None:
        """Folder of the embedded index; None for a server."""
        address = self.index_address
        return None if is_server(address) or is_miswritten(address) else Path(address)

    @property
    def drafts_dir(self) -> Path:
        """Folder that lists drafts outside this home, see `retrieval.atomic_files`."""
        return self.home / NOTES

    @property
    def index_location(self) -> str:
        """URL of the server without secrets, or the folder of the embedded index; for messages and comparison."""
        return redact(self.index_address)

    @property
    def index_address(self) -> str:
        """URL of the server as given, passwords included, or the folder of the embedded index; for opening it."""
        return self.index or str(self.home / "index")
