"""Addresses of an index: a server or a folder, and their form in messages, without passwords."""

from __future__ import annotations

import re

_SERVER = re.compile(r"https?://", re.I)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:/+", re.I)
_FOLDER = re.compile(r"/(?!/)|~|\.{1,2}/|[a-z]:[/\\](?!.*@)", re.I | re.S)  # beginnings that only a folder has
_SERVER_MISWRITTEN = re.compile(
    r"""
    (?:.*@)?[\w.-]+:\d+(?:[/?#].*)?    # host:6333, user:p/w@host:6333
    | [a-z][a-z0-9+.-]+:/.*            # ftp://…, http:/…
    | https?[:;/\\].*                  # http:…, https//…
    | //[^/]+:.*
    | [^:/]*:[^@]*@.*                  # user:password@host
    | [^?]*\?[^=]*=.*                  # host?api_key=…
    | ["'\s\ufeff].*                   # quotes or white space from a file of variables
    """,
    re.I | re.S | re.X,
)


def is_server(location: str) -> bool:
    """Whether `location` is the `http://` or `https://` address of a server."""
    return _SERVER.match(location) is not None


def is_miswritten(location: str) -> bool:
    """Whether `location` looks like the address of a server without `http://` or `https://`."""
    return not (is_server(location) or _FOLDER.match(location)) and bool(_SERVER_MISWRITTEN.fullmatch(location))


def redact(location: str) -> str:
    """`location` without user, password, query and fragment; the folder of an embedded index unchanged.

    Everything before the last `@` is removed, since a password may contain any character.
    """
    if not is_server(location) and not is_miswritten(location):
        return location
    scheme = _SCHEME.match(location)
    host = re.split(r"[?#]", location.rpartition("@")[2] if "@" in location else location)[0]
    return host if scheme is None or host.startswith(scheme[0]) else scheme[0] + host
