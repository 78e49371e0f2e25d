"""Connections and new files of a command, found in its system calls with strace."""

from __future__ import annotations

import ipaddress
import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.programs import require_program

_NETWORK = ("connect", "sendto", "sendmsg", "sendmmsg")
# The last argument is the new path, as in `symlink(target, path)`.
_CREATES = ("creat", "mkdir", "mkdirat", "mknod", "mknodat", "link", "linkat", "symlink", "symlinkat")
_RENAMES = ("rename", "renameat", "renameat2")
_OPENS = ("open", "openat", "openat2")
_CALL = re.compile(r"^(\w+)\((.*)\)\s+= (-?\d+)", re.S)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ADDRESS = re.compile(r'sin_port=htons\((\d+)\), sin_addr=inet_addr\("([^"]+)"\)')
_ADDRESS_6 = re.compile(r'sin6_port=htons\((\d+)\).*?inet_pton\(AF_INET6, "([^"]+)"')
_DNS_PORTS = (53, 853)


@dataclass(frozen=True, slots=True)
class Traced:
    """Network calls and new files of one command."""

    connections: list[str] = field(default_factory=list)
    """Each call that contacts an address outside loopback, or a name server at any address."""
    new_files: set[Path] = field(default_factory=set)
    """New and renamed files, folders and links."""

    def outside(self, *allowed: Path) -> list[Path]:
        """The new files outside `allowed`, without `/proc`, devices and shared memory."""
        folders = (*allowed, Path("/proc"))
        files = (path for path in self.new_files if not _is_device_or_shared_memory(path))
        return sorted(path for path in files if not any(path.is_relative_to(folder) for folder in folders))


def _is_device_or_shared_memory(path: Path) -> bool:
    # Files in subfolders of /dev/shm count, because the temporary folders of tests may be there.
    return path.is_relative_to("/dev") and Path("/dev/shm") not in path.parents[1:]


def require_strace() -> str:
    """Path of strace; skips the test if it is missing or may not trace processes, as in some containers."""
    path = require_program("strace")
    if subprocess.run([path, "-f", "-o", os.devnull, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("strace may not trace processes here, so connections cannot be observed")
    return path


def traced_command(command: list[str], folder: Path) -> list[str]:
    """`command` under strace, which writes one trace file for each thread into `folder`."""
    folder.mkdir(parents=True)
    calls = ",".join((*_NETWORK, *_CREATES, *_RENAMES, *_OPENS))
    options = ["-ff", "--seccomp-bpf", "-qq", "-s", "4096", "-e", f"trace={calls}", "-e", "signal=none"]
    return [require_strace(), *options, "-o", str(folder / "calls"), *command]


def read_trace(folder: Path, cwd: Path) -> Traced:
    """Read the trace files in `folder`; relative paths in them start at `cwd`."""
    traced = Traced()
    for file in folder.glob("calls.*"):
        for line in file.read_text(errors="replace").splitlines():
            if found := _CALL.match(line):
                _add(traced, found[1], found[2], int(found[3]) >= 0, cwd)
            elif "<unfinished" in line or "resumed>" in line:
                pytest.fail(f"strace split a call over two lines: {line}")
    return traced


def _add(traced: Traced, call: str, arguments: str, succeeded: bool, cwd: Path) -> None:
    if call in _NETWORK:
        for port, address in _ADDRESS.findall(arguments) + _ADDRESS_6.findall(arguments):
            host = ipaddress.ip_address(address)
            if int(port) in _DNS_PORTS or not (host.is_loopback or host.is_unspecified):
                traced.connections.append(f"{call} {address} port {port}: {arguments[:200]}")
        if "AF_UNIX" in arguments and "resolve" in arguments:  # the name service of systemd
            traced.connections.append(f"{call} {arguments[:200]}")
    elif succeeded and (call in _CREATES or call in _RENAMES or "O_CREAT" in arguments):
        paths = _QUOTED.findall(arguments)
        if paths:
            path = paths[0] if call in _OPENS else paths[-1]
            traced.new_files.add(Path(os.path.normpath(cwd / path)))
