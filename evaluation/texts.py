"""The texts of the protocol: a prompt for each finding, and queries that deny something. Data files of this package."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources

import msgspec

_DATA = resources.files("evaluation") / "data"


class ProbeText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A query and the findings (heads) that it denies."""

    text: str
    denied: tuple[str, ...]


def prompt_of(finding: str) -> str:
    """What a reader would type for `finding`; one that the file does not have goes by its own name."""
    return _prompts().get(finding, finding.lower())


@cache
def probe_texts() -> tuple[ProbeText, ...]:
    """Queries that deny something."""
    return msgspec.json.decode((_DATA / "probes.json").read_bytes(), type=tuple[ProbeText, ...])


@cache
def texts_fingerprint() -> str:
    """Sixteen hexadecimal digits that change with any prompt or probe."""
    content = b"".join((_DATA / name).read_bytes() for name in ("prompts.json", "probes.json"))
    return hashlib.sha256(content).hexdigest()[:16]


@cache
def _prompts() -> dict[str, str]:
    return msgspec.json.decode((_DATA / "prompts.json").read_bytes(), type=dict[str, str])
