"""The socket that the service listens on, opened before models are loaded."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

from retrieval.errors import RetrievalError

BACKLOG = 1024
"""Connections that may wait to be accepted. The operating system refuses or delays further ones."""


class RemoteBindRefused(RetrievalError):
    """Other machines can reach the address, and no key protects it."""

    code = "remote_bind_refused"


class AddressUnavailable(RetrievalError):
    """The port is in use, or the host is not an address of this machine."""

    code = "address_unavailable"


def open_listener(host: str, port: int, *, has_key: bool) -> socket.socket:
    """A socket that listens on `host` and `port`. A second service fails here, before it loads a model.

    Raises:
        RemoteBindRefused: `host` is not loopback, and there is no valid key (`has_key` is false).
        AddressUnavailable: the port is in use or reserved, or the host is not an address of this machine.
    """
    found = _resolve(host, port)
    if not has_key and not all(map(_is_loopback, found)):
        raise RemoteBindRefused(
            f"refusing to listen on {host}: other machines can reach it, and there is no valid key; "
            "run `cxr keys create NAME` first, or use --host 127.0.0.1"
        )
    family, _, _, _, address = found[0]
    try:
        listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        raise AddressUnavailable(
            f"cannot listen on {host}:{port}: {error.strerror or error}; free the port, or choose another --port"
        ) from error
    # Connections inherit this option. Without it the body of an answer may wait 40 ms for the acknowledgement of its head.
    # asyncio sets it only on sockets that were created with an explicit protocol number.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`. An unknown host counts as remote."""
    try:
        return all(map(_is_loopback, _resolve(host, 0)))
    except AddressUnavailable:
        return False


def _resolve(host: str, port: int) -> list[Any]:
    """Result of `socket.getaddrinfo`, never empty."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise AddressUnavailable(f"unknown host {host!r}: {error}") from error


def _is_loopback(found: Any) -> bool:
    return ipaddress.ip_address(found[4][0]).is_loopback
