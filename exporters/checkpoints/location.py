"""Finds the folder of a checkpoint: a local folder, or a hub id that is fetched into the hub's cache."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

from exporters.registry import Lender
from retrieval.errors import ExportError

Family = Literal["clip", "siglip", "open_clip"]

OPEN_CLIP_CONFIG = "open_clip_config.json"
WEIGHTS = ("*.safetensors", "*.bin", "*.pth", "*.npz")
INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_SMALL_FILES = ("*.json", "*.txt", "*.model")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


@dataclass(frozen=True, slots=True)
class CheckpointFolder:
    """The folder of a checkpoint, and its commit (`revision`) if it came from the hub.

    `lender` is the repository of files that the folder may lack.
    """

    folder: Path
    source: str
    revision: str | None
    lender: Lender | None = None

    @property
    def is_local(self) -> bool:
        """Whether the user named a folder; its export opens no connection."""
        return Path(self.source).expanduser().is_dir()

    def read_json(self, name: str) -> dict[str, Any]:
        """The JSON object in the file `name`.

        Raises:
            ExportError: it is missing or not a JSON object.
        """
        path = self.folder / name
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ExportError(
                f"{self.folder} has no {name}; copy the whole checkpoint folder, not only its weights"
            ) from None
        except (OSError, ValueError) as error:
            raise ExportError(f"{path} cannot be read as JSON: {error}") from error
        if not isinstance(content, dict):
            raise ExportError(f"{path} holds no JSON object")
        return content

    def has(self, *names: str) -> bool:
        """Whether the folder has any of these files."""
        return any((self.folder / name).is_file() for name in names)

    def require_weights(self) -> None:
        """Refuse a folder without weights; open_clip would go on with random ones.

        Raises:
            ExportError: the folder has no weights.
        """
        if not any(any(self.folder.glob(pattern)) for pattern in WEIGHTS):
            raise ExportError(
                f"{self.folder} has no weights: expected model.safetensors, pytorch_model.bin or an open_clip_* file "
                "beside the config"
            )
        missing = _missing_shards(self.folder)
        if missing:
            raise ExportError(
                f"{self.folder} lacks {', '.join(missing)}, which its weight index names; fetch or copy these files"
            )


def locate_checkpoint(source: str | Path, revision: str | None = None) -> CheckpointFolder:
    """The folder of a checkpoint, downloaded first if `source` is a hub id.

    Raises:
        ExportError: `source` is neither a folder nor a hub id, or the hub does not provide it.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return CheckpointFolder(folder.resolve(), str(source), revision)
    if not _HUB_ID.fullmatch(str(source)):
        raise ExportError(f"{source} is neither a folder nor a hub id (owner/name); pass --checkpoint DIR")
    return _fetch(str(source), revision)


def fetch_files(
    source: str, patterns: tuple[str, ...] = _SMALL_FILES, revision: str | None = None, *, offline: bool = False
) -> Path:
    """A folder with the files of a hub repository that match `patterns`.

    Complete files in the cache are not fetched again. With `offline` nothing is fetched: the export of a local folder
    must not open a connection.

    Raises:
        ExportError: the hub does not provide the files; the message gives the cause and the remedy.
    """
    try:
        return Path(
            snapshot_download(source, revision=revision, allow_patterns=list(patterns), local_files_only=offline)
        )
    except Exception as error:  # the hub's client raises a dozen unrelated kinds
        raise _unreachable(source, error) from error


def detect_family(location: CheckpointFolder, wanted: Family | None) -> Family:
    """The family of the checkpoint's files.

    Raises:
        ExportError: the family is unknown, or not the `wanted` one.
    """
    if location.has(OPEN_CLIP_CONFIG) and wanted in (None, "open_clip"):
        return "open_clip"
    if not location.has("config.json"):
        expected = OPEN_CLIP_CONFIG if wanted == "open_clip" else f"config.json or {OPEN_CLIP_CONFIG}"
        raise ExportError(f"{location.folder} is no checkpoint: it has no {expected}")
    if wanted == "open_clip":
        raise ExportError(f"{location.folder} is no open_clip checkpoint: it has no {OPEN_CLIP_CONFIG}")
    found = location.read_json("config.json").get("model_type")
    if found not in ("clip", "siglip") or wanted not in (None, found):
        expected = f"model_type {wanted!r}" if wanted else "model_type 'clip' or 'siglip'"
        raise ExportError(
            f"{location.folder / 'config.json'} does not match: expected {expected}, found {found!r}; "
            "check that the folder belongs to this model"
        )
    family: Family = found
    return family


def _fetch(source: str, revision: str | None) -> CheckpointFolder:
    try:
        info = HfApi().model_info(source, revision=revision)
    except (GatedRepoError, RepositoryNotFoundError) as error:
        raise _unreachable(source, error) from error
    except Exception as error:  # without a network, the cache of an earlier run may have it
        return _from_cache(source, revision, error)
    names = [sibling.rfilename for sibling in info.siblings or [] if "/" not in sibling.rfilename]
    folder = fetch_files(source, (*_SMALL_FILES, *_weights_among(names)), info.sha)
    return CheckpointFolder(folder, source, info.sha)


def _from_cache(source: str, revision: str | None, cause: Exception) -> CheckpointFolder:
    try:
        # Only these: the hub's client compares with the repository's whole list, of which one format of weights is fetched.
        folder = fetch_files(source, revision=revision, offline=True)
    except ExportError:
        raise _unreachable(source, cause) from cause
    names = [path.name for path in folder.iterdir()]
    missing = _missing_shards(folder) or ([] if _weights_among(names) else ["the weights"])
    if missing:
        raise ExportError(
            f"the hub does not answer ({type(cause).__name__}), and the cache lacks {', '.join(missing)} of {source}; "
            f"{_advice(cause)}, then run the command again: files in the cache are not fetched again"
        ) from cause
    return CheckpointFolder(folder, source, folder.name)


def _missing_shards(folder: Path) -> list[str]:
    """Files that the index of sharded weights names and `folder` lacks."""
    missing: list[str] = []
    for index in INDEXES:
        if (folder / index.removesuffix(".index.json")).is_file():
            return []
        if (folder / index).is_file():
            named = CheckpointFolder(folder, str(folder), None).read_json(index).get("weight_map") or {}
            lacking = sorted({name for name in named.values() if not (folder / name).is_file()})
            if not lacking:
                return []
            missing = missing or lacking
    return missing


def _weights_among(names: list[str]) -> list[str]:
    """The weight files to fetch: one format only, and open_clip's own in a repository for open_clip."""
    weights = [name for name in names if name.endswith((".safetensors", ".bin", ".pth"))]
    if OPEN_CLIP_CONFIG in names:
        weights = [name for name in weights if name.startswith("open_clip")] or weights
    safe = [name for name in weights if name.endswith(".safetensors")]
    return safe or [name for name in weights if name.startswith(("pytorch_model", "open_clip", "model"))]


def _unreachable(source: str, error: Exception) -> ExportError:
    return ExportError(f"the hub does not provide {source} ({type(error).__name__}); {_advice(error, source)}")


def _advice(error: Exception, source: str = "") -> str:
    """What the user can do about an error of the hub's client."""
    kind = type(error).__name__
    status = getattr(getattr(error, "response", None), "status_code", None)
    if kind == "GatedRepoError" and status == 403:
        return (
            f"the account of your token has no access: open the page of {source} on the hub with this account, accept the "
            "terms, wait for access where the owner grants it by hand, and give a fine-grained token the right to read "
            "gated repositories; or pass --checkpoint DIR with a copy you hold"
        )
    if kind == "GatedRepoError":
        return (
            f"accept the terms on the page of {source} on the hub, make a token with the right to read there, and log in "
            "(`hf auth login`, or HF_TOKEN); or pass --checkpoint DIR with a copy you hold"
        )
    if kind in ("RepositoryNotFoundError", "RevisionNotFoundError"):
        return "check the name and revision, log in if it is private (`hf auth login`), or pass --checkpoint DIR"
    if status in (401, 403):
        return "it refuses your token: log in again (`hf auth login`), or correct HF_TOKEN"
    if kind == "OfflineModeIsEnabled":
        return "HF_HUB_OFFLINE is set: unset it, or pass --checkpoint DIR with a local copy"
    return "check the network, or pass --checkpoint DIR with a local copy"
