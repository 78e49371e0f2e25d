"""Keys of the servers that need one, and tokens with fewer rights."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

API_KEY, READ_ONLY_KEY = "key-of-the-tests", "read-only-key-of-the-tests"
SETTINGS = {
    "QDRANT__SERVICE__API_KEY": API_KEY,
    "QDRANT__SERVICE__READ_ONLY_API_KEY": READ_ONLY_KEY,
    "QDRANT__SERVICE__JWT_RBAC": "true",
}


def make_token(access: Any, *, key: str = API_KEY) -> str:
    """A token (JWT, HS256) that allows `access`: "r", "m", or a list of collections with their rights."""
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "typ": "JWT"}, {"access": access})]
    signed = b".".join(_base64(part) for part in parts)
    return b".".join((signed, _base64(hmac.digest(key.encode(), signed, hashlib.sha256)))).decode()


def _base64(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")
