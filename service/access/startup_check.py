"""Startup check: without a valid key the service starts only if no other machine can reach it."""

from __future__ import annotations

import ipaddress

from service.access.keys import KeyFile, KeysLost
from service.access.listener import RemoteBindRefused, is_loopback
from service.settings import ServiceSettings


def require_keys(settings: ServiceSettings, file: KeyFile) -> bool:
    """Whether there is a valid key. Returns only if the service may start.

    Raises:
        RemoteBindRefused: other machines can reach the service, and there is no valid key.
        KeysLost: the home once had keys, and their file is missing.
        KeysDamaged: the file of keys cannot be read.
    """
    keys = file.read() or ()
    if keys:
        file.remember()
    if any(key.state() == "valid" for key in keys):
        return True
    if reason := remote_reason(settings):
        raise RemoteBindRefused(
            f"refusing to start: {reason}, so other machines can reach the service, and there is no valid key; "
            "run `cxr keys create NAME` first, or serve this machine only: --host 127.0.0.1, without "
            "CXR_SERVICE_HTTPS and CXR_SERVICE_ALLOWED_HOSTS"
        )
    if file.is_lost():
        raise KeysLost(
            f"refusing to start: this home had keys, but {file.path} is missing; restore it, create a new key with "
            "`cxr keys create NAME`, or run `cxr keys remove-all` to serve this machine only, without keys"
        )
    return False


def remote_reason(settings: ServiceSettings) -> str | None:
    """The setting by which other machines can reach the service; None if there is none.

    HTTPS and allowed hosts count, because a proxy on this machine forwards requests of others from loopback.
    """
    if not is_loopback(settings.host):
        return f"it listens on {settings.host}"
    if settings.https:
        return "CXR_SERVICE_HTTPS is set"
    others = [name for name in settings.allowed_hosts if not _is_this_machine(name)]
    return f"CXR_SERVICE_ALLOWED_HOSTS names {others[0]}" if others else None


def _is_this_machine(name: str) -> bool:
    name = name.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761: always loopback
        return True
    try:
        return ipaddress.ip_address(name.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False
