"""The texts of the protocol, from data files: a prompt for each finding, and queries with a negation."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources

import msgspec

_DATA = resources.files("evaluation") / "data"


class ProbeText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A query and the findings (Indiana heads) that it negates."""

    text: str
    denied: tuple[str, ...]


def prompt_of(finding: str) -> str:
    """The search text for `finding`; without an entry in the file, the name of the finding."""
    return _prompts().get(finding, finding.lower())


@cache
def probe_texts() -> tuple[ProbeText, ...]:
    """The queries with a negation."""
    return msgspec.json.decode((_DATA / "probes.json").read_bytes(), type=tuple[ProbeText, ...])


@cache
def texts_fingerprint() -> str:
    """16 hexadecimal digits that change with any prompt or probe."""
    content = b"".join((_DATA / name).read_bytes() for name in ("prompts.json", "probes.json"))
    return hashlib.sha256(content).hexdigest()[:16]


@cache
def _prompts() -> dict[str, str]:
    return msgspec.json.decode((_DATA / "prompts.json").read_bytes(), type=dict[str, str])
