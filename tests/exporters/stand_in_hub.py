"""A model hub on 127.0.0.1 that speaks the protocol of the real one: API, redirects, etags, gates, a content server.

The hub answers `/api/models/…` and `/{repository}/resolve/{revision}/{file}`. Large files are redirected to a second server
with another port, which must never see the user's token and answers ranges.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE_BYTES = 10_000
"""Files from this size on are stored like weights: an etag of their SHA-256, behind a redirect."""
TOKENS = {"hf_accepted": True, "hf_not_accepted": False}
"""Tokens, and whether their account has accepted the terms of gated repositories."""


@dataclass(slots=True)
class Repository:
    """Files by name at one commit. `refs` are branches and tags."""

    files: dict[str, bytes]
    gated: bool = False
    refs: tuple[str, ...] = ("main",)
    pinned: str | None = None
    """The commit; a hash of the files if None."""

    @property
    def commit(self) -> str:
        """The commit, 40 hexadecimal digits."""
        if self.pinned:
            return self.pinned
        return hashlib.sha1(
            json.dumps([(name, etag_of(data)) for name, data in self.files.items()]).encode()
        ).hexdigest()


@dataclass(slots=True)
class StandInHub:
    """Repositories by id, renamed ids, and a log of all requests."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    """The content server cuts an answer off after so many bytes, `cuts` times."""
    cuts: int = 0
    log: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    """Method, path and headers (names in lower case) of each request."""
    url: str = ""
    content_url: str = ""

    def add(self, name: str, folder: Path, *, gated: bool = False, leave_out: tuple[str, ...] = ()) -> Repository:
        """Publish the files of `folder` as the repository `name`, with the files that every repository has."""
        files = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name not in leave_out}
        self.repositories[name] = Repository(
            {".gitattributes": b"*.bin filter=lfs\n", "README.md": b"# Card\n"} | files, gated
        )
        return self.repositories[name]

    def fetched(self) -> list[str]:
        """Names of the files whose content was sent, sorted."""
        names = [path.rsplit("/", 1)[1] for method, path, _ in self.log if method == "GET" and "/api/" not in path]
        return sorted(set(names))


def etag_of(data: bytes) -> str:
    """The etag: SHA-256 of a large file, the git blob id of a small one."""
    if len(data) >= LARGE_BYTES:
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@contextmanager
def serve(hub: StandInHub) -> Iterator[StandInHub]:
    """`hub` while it answers at `hub.url`."""
    servers = [_start(_hub_handler(hub)), _start(_content_handler(hub))]
    hub.url, hub.content_url = (f"http://127.0.0.1:{server.server_address[1]}" for server in servers)
    try:
        yield hub
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def _start(handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", *, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status: int, code: str, message: str) -> None:
        self.answer(status, json.dumps({"error": message}).encode(), X_Error_Code=code, X_Error_Message=message)


def _hub_handler(hub: StandInHub) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.log.append((self.command, path, {name.lower(): value for name, value in self.headers.items()}))
            parts = path.removeprefix("/api/models").strip("/").split("/")
            name = "/".join(parts[:2])
            if name in hub.renamed:
                self.answer(307, Location=self.path.replace(name, hub.renamed[name]))
                return
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            if token and token not in TOKENS:
                self.answer(401, b"{}", X_Error_Message="Invalid credentials in Authorization header")
                return
            repository = hub.repositories.get(name)
            if repository is None:
                self.refuse(404 if token else 401, "RepoNotFound", "Repository not found")
            elif path.startswith("/api/"):
                self._describe(name, repository, parts[2:])
            else:
                self._resolve(repository, token, parts[3], "/".join(parts[4:]))

        do_HEAD = do_GET  # noqa: N815  the name that http.server calls

        def _describe(self, name: str, repository: Repository, rest: list[str]) -> None:
            revision = rest[1] if len(rest) > 1 else "main"
            if revision not in (*repository.refs, repository.commit):
                self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
                return
            if rest[:1] == ["tree"]:
                self.answer(200, json.dumps([_entry(*file) for file in repository.files.items()]).encode())
                return
            description = {
                "id": name,
                "sha": repository.commit,
                "private": False,
                "gated": "manual" if repository.gated else False,
                "tags": [],
                "siblings": [
                    {"rfilename": file, "size": len(data), "blobId": etag_of(data)}
                    for file, data in repository.files.items()
                ],
            }
            self.answer(200, json.dumps(description).encode())

        def _resolve(self, repository: Repository, token: str, revision: str, file: str) -> None:
            if repository.gated and not TOKENS.get(token):
                self.refuse(403 if token else 401, "GatedRepo", "Access to this repository is restricted")
            elif revision not in (*repository.refs, repository.commit):
                self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            elif file not in repository.files:
                self.refuse(404, "EntryNotFound", "Entry not found")
            else:
                data = repository.files[file]
                headers = {"X_Repo_Commit": repository.commit, "ETag": f'"{etag_of(data)}"'}
                if len(data) < LARGE_BYTES:
                    self.answer(200, data, length=len(data), **headers)
                    return
                headers |= {"X_Linked_Etag": headers["ETag"], "X_Linked_Size": str(len(data))}
                self.answer(302, Location=f"{hub.content_url}/{etag_of(data)}/{file}", **headers)

    return Handler


def _content_handler(hub: StandInHub) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        def do_GET(self) -> None:
            hub.log.append((self.command, self.path, {name.lower(): value for name, value in self.headers.items()}))
            etag = self.path.strip("/").split("/")[0]
            stored = (data for each in hub.repositories.values() for data in each.files.values())
            data = next(data for data in stored if etag_of(data) == etag)
            start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
            headers = {"ETag": f'"{etag}"', "Accept_Ranges": "bytes"}
            if start:
                headers["Content_Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            body, status = data[start:], 206 if start else 200
            if hub.cut_after is not None and hub.cuts > 0:
                hub.cuts -= 1
                self.close_connection = True
                self.answer(status, body[: hub.cut_after], length=len(body), **headers)
                return
            self.answer(status, body, **headers)

        do_HEAD = do_GET  # noqa: N815  the name that http.server calls

    return Handler


def _entry(name: str, data: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "oid": etag_of(data)[:40], "size": len(data), "path": name}
    if len(data) >= LARGE_BYTES:
        entry["lfs"] = {"oid": etag_of(data), "size": len(data), "pointerSize": 134}
    return entry
