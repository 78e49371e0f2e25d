"""Tokens (JWT) that a Qdrant server takes instead of its API key."""

from __future__ import annotations

import base64
import binascii

import msgspec

from retrieval.errors import IndexForbidden
from retrieval.index.schema import ALIAS


class _Grant(msgspec.Struct):
    collection: str


class _Claims(msgspec.Struct):
    access: list[_Grant]


def names_of_token(api_key: str | None) -> frozenset[str] | None:
    """The collections and aliases that a token names; None for an API key, and for a token for the whole server."""
    parts = (api_key or "").split(".")
    if len(parts) != 3:
        return None
    try:
        claims = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        return frozenset(grant.collection for grant in msgspec.json.decode(claims, type=_Claims).access)
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        return None


def hidden_alias(names: frozenset[str]) -> IndexForbidden:
    """The error of a token for the collections and aliases `names` that sees no active model."""
    named = ", ".join(sorted(names)) or "nothing"
    return IndexForbidden(
        f"the token in CXR_INDEX_API_KEY does not show which model is active. It names {named}; it must name both the alias "
        f"`{ALIAS}` and the collection that this stands for. If no model is active yet, run `cxr use MODEL` with a key that "
        "has manage rights"
    )
