"""Presets: rerank weights by name in `<CXR_HOME>/presets/NAME.json`, written by `cxr tune --save NAME`."""

from __future__ import annotations

import json
import re
from pathlib import Path

from retrieval.atomic_files import replace_file
from retrieval.errors import InvalidRequest
from retrieval.file_permissions import make_private_folder
from retrieval.search.rerank import NONE, PRESETS, weights_of

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def read_preset(home: Path, name: str) -> dict[str, float]:
    """The weights of the saved preset `name`.

    Raises:
        InvalidRequest: there is no such preset, or its file is damaged.
    """
    folder = home / "presets"
    path = folder / f"{name}.json"
    if not _NAME.fullmatch(name) or not path.is_file():
        saved = sorted(each.stem for each in folder.glob("*.json"))
        known = ", ".join([NONE, *PRESETS, *saved])
        raise InvalidRequest(f"rerank must be one of {known}, or weights by signal, found {name!r}")
    try:
        weights = json.loads(path.read_text(encoding="utf-8"))
        return weights_of({str(signal): float(weight) for signal, weight in weights.items()})
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InvalidRequest(f"the preset {path} cannot be read: {error}") from error


def save_preset(home: Path, name: str, weights: dict[str, float]) -> Path:
    """Save `weights` as preset `name`, replacing one of that name; returns the file.

    Raises:
        InvalidRequest: the name is invalid or that of a built-in preset, or the weights are invalid.
    """
    if name in (NONE, *PRESETS) or not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"the name of a preset has lower-case letters, digits, - and _, and must not be {NONE}, {', '.join(PRESETS)}"
        )
    path = home / "presets" / f"{name}.json"
    make_private_folder(path.parent)
    with replace_file(path) as file:
        file.write(json.dumps(weights_of(weights), indent=2).encode() + b"\n")
    return path
