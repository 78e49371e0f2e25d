"""Whether the service may start without a valid key: only where nobody but this machine reaches it."""

from __future__ import annotations

import ipaddress

from service.access.keys import KeyFile, KeysLost
from service.access.listener import RemoteBindRefused, is_loopback
from service.settings import ServiceSettings


def require_keys(settings: ServiceSettings, file: KeyFile) -> bool:
    """Whether there is a valid key, for a service that may start; without one it may only on this machine alone.

    Raises:
        RemoteBindRefused: others reach the service, and no key is valid.
        KeysLost: the home once had keys, and their file is gone.
        KeysDamaged: the file cannot be read or understood.
    """
    keys = file.read() or ()
    if keys:
        file.remember()
    if any(key.state() == "valid" for key in keys):
        return True
    if reason := remote_reason(settings):
        raise RemoteBindRefused(
            f"refusing to start: {reason}, so others can reach the service, and there is no valid key to keep them out; "
            "run `cxr keys create NAME` first, or serve this machine alone: --host 127.0.0.1, without "
            "CXR_SERVICE_HTTPS and CXR_SERVICE_ALLOWED_HOSTS"
        )
    if file.is_lost():
        raise KeysLost(
            f"refusing to start: this home had keys, and {file.path} is gone; restore it, make a new key with "
            "`cxr keys create NAME`, or go on without keys, on this machine alone, after `cxr keys remove-all`"
        )
    return False


def remote_reason(settings: ServiceSettings) -> str | None:
    """Which setting says that others than this machine reach the service; None if none does.

    A proxy forwards from loopback: what it is asked by others looks like a request of this machine.
    """
    if not is_loopback(settings.host):
        return f"it listens on {settings.host}"
    if settings.https:
        return "CXR_SERVICE_HTTPS is set"
    others = [name for name in settings.allowed_hosts if not _is_this_machine(name)]
    return f"CXR_SERVICE_ALLOWED_HOSTS names {others[0]}" if others else None


def _is_this_machine(name: str) -> bool:
    name = name.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761: never asked of a name server
        return True
    try:
        return ipaddress.ip_address(name.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False
