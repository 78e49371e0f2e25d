"""A Qdrant server as a process that tests start, kill, stop and start again."""

from __future__ import annotations

import functools
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

VARIABLE = "CXR_TEST_QDRANT_BINARY"
# Below the ports that the system gives to outgoing connections, so that a node finds its own port free at a restart.
_PORTS = range(12_000, 32_000)
_START_S = 60.0


def require_qdrant() -> str:
    """Path of the server program; skips the test if there is none."""
    if named := os.environ.get(VARIABLE):
        if shutil.which(named) is None:
            pytest.fail(f"{VARIABLE} names no program: {named}")
        return str(Path(named).resolve())
    found = shutil.which("qdrant")
    if found is None:
        pytest.skip(f"no Qdrant server: {VARIABLE} names no binary, and there is no `qdrant` on the path")
    return found


@functools.cache
def qdrant_version(binary: str) -> str:
    """The version that the program reports, as 1.18.3."""
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True, timeout=30).stdout
    return said.split()[-1]


class QdrantNode:
    """One server process. It can be killed, stopped and started again on the same ports and the same data."""

    def __init__(
        self, binary: str, folder: Path, environment: dict[str, str], *, tls: trustme.CA | None = None, key: str = ""
    ) -> None:
        self.folder = folder
        self.http_port, self.grpc_port, self.p2p_port = _free_ports(3)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.http_port}"
        self.p2p_url = f"http://127.0.0.1:{self.p2p_port}"
        self.log = folder / "log"
        self._command = [binary]
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("QDRANT_", "CXR_"))}
        self._environment = kept | {
            "QDRANT__TELEMETRY_DISABLED": "true",
            "QDRANT__STORAGE__STORAGE_PATH": str(folder / "storage"),
            "QDRANT__STORAGE__SNAPSHOTS_PATH": str(folder / "snapshots"),
            "QDRANT__SERVICE__HOST": "127.0.0.1",
            "QDRANT__SERVICE__HTTP_PORT": str(self.http_port),
            "QDRANT__SERVICE__GRPC_PORT": str(self.grpc_port),
            "QDRANT__CLUSTER__P2P__PORT": str(self.p2p_port),
        }
        self._environment |= environment
        verify: ssl.SSLContext | bool = True
        if tls:
            self._environment |= _issue_certificate(tls, folder)
            verify = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        self.client = httpx.Client(
            base_url=self.url,
            headers={"api-key": key} if key else {},
            verify=verify,
            timeout=30,
            limits=httpx.Limits(max_keepalive_connections=0),
            trust_env=False,
        )

    @property
    def pid(self) -> int:
        """Process id of the server."""
        assert self._process
        return self._process.pid

    def start(self, *arguments: str) -> None:
        """Start the server; `arguments` are kept for later starts. Returns before it answers."""
        self._command += arguments
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self.folder, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )

    def wait_until_ready(self) -> None:
        """Wait until the server says that it serves."""
        self.wait_until(lambda: self.client.get("/readyz", timeout=2).status_code == 200, "is not ready")

    def wait_until(self, condition: Callable[[], bool], missing: str) -> None:
        """Wait until `condition` holds; a connection that fails counts as false."""
        deadline = time.monotonic() + _START_S
        while True:
            try:
                if condition():
                    return
            except httpx.TransportError:
                pass
            assert self._process and self._process.poll() is None, f"the server ended: {self.last_words()}"
            assert time.monotonic() < deadline, f"the server {missing}: {self.last_words()}"
            time.sleep(0.02)

    def last_words(self) -> str:
        """The end of the log."""
        return self.log.read_text(errors="replace")[-3000:]

    def kill(self) -> None:
        """End the process at once, as a crash does."""
        self._end(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask the process to end, and wait for it."""
        self._end(signal.SIGTERM)

    def stop(self) -> None:
        """Stop the process where it stands: its connections stay open, and nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a stopped process go on."""
        os.kill(self.pid, signal.SIGCONT)

    def restart(self) -> None:
        """Start the killed server again, and wait until it serves."""
        self.start()
        self.wait_until_ready()

    def result(self, method: str, path: str, body: Any = None) -> Any:
        """The result of one request."""
        response = self.client.request(method, path, json=body)
        assert response.status_code == 200, f"{method} {path}: {response.status_code} {response.text}"
        return response.json()["result"]

    def collections(self) -> list[str]:
        """Names of all collections."""
        return sorted(each["name"] for each in self.result("GET", "/collections")["collections"])

    def drop_all(self) -> None:
        """Delete all collections, and with them their aliases."""
        for name in self.collections():
            self.result("DELETE", f"/collections/{name}")

    def close(self) -> None:
        """Kill the server and remove its data; its log stays."""
        self.client.close()
        if self._process and self._process.poll() is None:
            self.kill()
        for name in ("storage", "snapshots"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def _end(self, number: int) -> None:
        assert self._process
        os.kill(self.pid, number)
        self._process.wait(timeout=30)


def _issue_certificate(authority: trustme.CA, folder: Path) -> dict[str, str]:
    issued = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    for blob in issued.cert_chain_pems:
        blob.write_to_path(str(folder / "cert.pem"), append=True)
    return {
        "QDRANT__SERVICE__ENABLE_TLS": "true",
        "QDRANT__TLS__CERT": str(folder / "cert.pem"),
        "QDRANT__TLS__KEY": str(folder / "key.pem"),
        "QDRANT__TLS__CA_CERT": str(folder / "ca.pem"),
    }


_given: set[int] = set()


def _free_ports(count: int) -> list[int]:
    found: list[int] = []
    while len(found) < count:
        port = random.SystemRandom().choice(_PORTS)
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in _given:
            _given.add(port)
            found.append(port)
    return found
