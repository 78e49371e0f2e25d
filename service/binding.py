"""The address the service listens on: loopback unless told otherwise, and free before anything is loaded."""

from __future__ import annotations

import ipaddress
import socket

from retrieval.errors import RetrievalError


class RemoteBindRefused(RetrievalError):
    """The address asked for can be reached from other machines."""

    code = "remote_bind_refused"


class AddressUnavailable(RetrievalError):
    """The address cannot be listened on: the port is taken, or the host is not this machine's."""

    code = "address_unavailable"


def open_listener(host: str, port: int, *, allow_remote: bool) -> socket.socket:
    """A socket that listens on `host` and `port`, so that a second service fails before it loads a model.

    Raises:
        RemoteBindRefused: `host` is not loopback and `allow_remote` is not set.
        AddressUnavailable: the port is in use, may not be used, or the host is not this machine's.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise AddressUnavailable(f"the host {host!r} is not known: {error}") from error
    if not allow_remote and not all(ipaddress.ip_address(address[4][0]).is_loopback for address in found):
        raise RemoteBindRefused(
            f"refusing to listen on {host}: other machines could reach it, and the service has no login; "
            "use --host 127.0.0.1, or --allow-remote where only a closed network reaches this address"
        )
    family, _, _, _, address = found[0]
    try:
        return socket.create_server(address[:2], family=family, backlog=1024)
    except OSError as error:
        raise AddressUnavailable(
            f"cannot listen on {host}:{port}: {error.strerror or error}; stop what uses it, or take another --port"
        ) from error
