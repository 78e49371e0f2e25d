"""Addresses of an index: a server, the nodes of a cluster, or a folder; and their form in messages, without passwords."""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from urllib.parse import quote, urlsplit

from retrieval.errors import InvalidRequest

_SERVER = re.compile(r"https?://", re.I)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:/+", re.I)
_FOLDER = re.compile(r"/(?!/)|~|\.{1,2}/|[a-z]:[/\\](?!.*@)", re.I | re.S)  # beginnings that only a folder has
_SERVER_MISWRITTEN = re.compile(
    r"""
    (?:.*@)?[\w.-]+:\d+(?:[/?#,].*)?   # host:6333, user:p/w@host:6333, host:6333,host:6333
    | [a-z][a-z0-9+.-]+:/.*            # ftp://…, http:/…
    | https?[:;/\\].*                  # http:…, https//…
    | .*,\s*https?://.*                # host,http://host
    | //[^/]+:.*
    | [^:/]*:[^@]*@.*                  # user:password@host
    | [^?]*\?[^=]*=.*                  # host?api_key=…
    | ["'\s\ufeff].*                   # quotes or white space from a file of variables
    """,
    re.I | re.S | re.X,
)
# A comma in a password or path is not followed by a scheme.
_BETWEEN_NODES = re.compile(r"\s*,\s*(?=https?://|$)", re.I)
_DEFAULT_PORT = 6333
_HOST = re.compile(r"[\w-]+(?:\.[\w-]+)*\.?")


def is_server(location: str) -> bool:
    """Whether `location` begins as the `http://` or `https://` address of a server, or of the nodes of a cluster."""
    return _SERVER.match(location) is not None


def is_miswritten(location: str) -> bool:
    """Whether `location` looks like the address of a server without `http://` or `https://`."""
    return not (is_server(location) or _FOLDER.match(location)) and bool(_SERVER_MISWRITTEN.fullmatch(location))


def redact(location: str) -> str:
    """`location` without user, password, query and fragment; the folder of an embedded index unchanged.

    Everything before the last `@` is removed, since a password may contain any character.
    """
    if not is_server(location):
        return _redact_one(location) if is_miswritten(location) else location
    nodes = [_redact_one(node) for node in node_addresses(location)]
    # What is no list of addresses may be a password with a comma in it.
    return ",".join(nodes) if all(map(_is_address, nodes)) else _redact_one(location)


def server_urls(location: str) -> tuple[str, ...]:
    """The addresses of the nodes in `location`, which `is_server`: with port, without secrets, without repetitions.

    Raises:
        InvalidRequest: one is not an address, or they are not nodes of one cluster (scheme or path differ).
    """
    shown = redact(location)
    nodes = [_redact_one(node) for node in node_addresses(location)]
    if not all(map(_is_address, nodes)):
        raise InvalidRequest(
            f"the index {shown!r} is not the address of a server; write http://HOST:PORT or https://HOST:PORT, and "
            "several nodes of one cluster with commas between them"
        )
    urls = tuple(dict.fromkeys(map(_with_port, nodes)))
    if len({(address.scheme, address.path) for address in map(urlsplit, urls)}) > 1:
        raise InvalidRequest(
            f"the index {shown!r} names nodes with different schemes or paths; name nodes of one cluster, each with "
            "http:// or each with https://"
        )
    return urls


def is_unencrypted(url: str) -> bool:
    """Whether requests to `url` cross a network without TLS."""
    address = urlsplit(url)
    host = address.hostname or ""
    return address.scheme == "http" and host not in ("localhost", "::1") and not host.startswith("127.")


def collection_path(name: str) -> str:
    """Path of the collection `name` in a server's API."""
    return f"/collections/{quote(name, safe='')}"


def node_addresses(location: str) -> list[str]:
    """The addresses in `location`, as they are written there."""
    return [node for node in _BETWEEN_NODES.split(location.strip()) if node]


def _is_address(url: str) -> bool:
    """Whether `url` has a host and a port that can be; a missing port can."""
    try:
        address = urlsplit(url)
        host, port = address.hostname or "", address.port
        if ":" in host:
            IPv6Address(host)
            return port != 0
    except ValueError:
        return False
    return port != 0 and _HOST.fullmatch(host) is not None


def _with_port(url: str) -> str:
    address = urlsplit(url.rstrip("/"))
    return (address if address.port else address._replace(netloc=f"{address.netloc}:{_DEFAULT_PORT}")).geturl()


def _redact_one(location: str) -> str:
    scheme = _SCHEME.match(location)
    host = re.split(r"[?#]", location.rpartition("@")[2] if "@" in location else location)[0]
    return host if scheme is None or host.startswith(scheme[0]) else scheme[0] + host
