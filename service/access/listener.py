"""The address the service listens on: loopback unless told otherwise, and free before anything is loaded."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

from retrieval.errors import RetrievalError

BACKLOG = 1024
"""Connections that wait to be accepted; the system refuses or delays further ones."""


class RemoteBindRefused(RetrievalError):
    """The address asked for can be reached from other machines."""

    code = "remote_bind_refused"


class AddressUnavailable(RetrievalError):
    """The address cannot be listened on: the port is taken, or the host is not this machine's."""

    code = "address_unavailable"


def open_listener(host: str, port: int, *, has_key: bool) -> socket.socket:
    """A socket that listens on `host` and `port`, so that a second service fails before it loads a model.

    Raises:
        RemoteBindRefused: `host` is not loopback and there is no key that opens anything: `has_key` is false.
        AddressUnavailable: the port is in use, may not be used, or the host is not this machine's.
    """
    found = _resolve(host, port)
    if not has_key and not all(map(_is_loopback, found)):
        raise RemoteBindRefused(
            f"refusing to listen on {host}: other machines could reach it, and there is no valid key to keep them out; "
            "run `cxr keys create NAME` first, or use --host 127.0.0.1"
        )
    family, _, _, _, address = found[0]
    try:
        listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        raise AddressUnavailable(
            f"cannot listen on {host}:{port}: {error.strerror or error}; stop what uses it, or take another --port"
        ) from error
    # Connections inherit it. Without it an answer's body may wait 40 ms for the acknowledgement of its head; asyncio sets
    # it only on sockets that were made with the protocol's number.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on `host`; a host that is not known is taken for a remote one."""
    try:
        return all(map(_is_loopback, _resolve(host, 0)))
    except AddressUnavailable:
        return False


def _resolve(host: str, port: int) -> list[Any]:
    """What `socket.getaddrinfo` gives; not empty."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise AddressUnavailable(f"the host {host!r} is not known: {error}") from error


def _is_loopback(found: Any) -> bool:
    return ipaddress.ip_address(found[4][0]).is_loopback
