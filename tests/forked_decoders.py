"""Decoding processes that start in milliseconds: forks of a process that has loaded the decoders, with the real main loop.

Tests that start many decoding processes use them; `tests/retrieval/imaging/test_decoders.py` tests the real start.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from retrieval.imaging import decoder_client, decoder_process
from retrieval.imaging.decode import decode_image
from tests.dicom_files import make_dicom

_NUMBER = struct.Struct("<i")
# Higher than any descriptor of a decoding process.
_LIFELINE = 200


@contextmanager
def forked_decoders() -> Iterator[None]:
    """Decoding processes that start within the block are forks of a process started here."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            server = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                cwd=Path(__file__).parents[1],
            )
        start = decoder_client._start
        decoder_client._start = lambda _command, _environment: _start_fork(ours)  # type: ignore[assignment, return-value]
        try:
            yield
        finally:
            decoder_client._start = start
    server.wait()


class _Fork:
    """The part of `subprocess.Popen` that `DecoderClient` uses. `reports` gives the process id, and then its status."""

    def __init__(self, stdin: IO[bytes], stdout: IO[bytes], reports: IO[bytes]) -> None:
        self.stdin, self.stdout, self._reports = stdin, stdout, reports
        (self.pid,) = _NUMBER.unpack(reports.read(_NUMBER.size))
        self._lock = threading.Lock()
        self._code: int | None = None

    def poll(self) -> int | None:
        with self._lock:
            if self._code is None and select.select([self._reports], [], [], 0)[0]:
                self._read_code()
            return self._code

    def wait(self) -> int:
        with self._lock:
            return self._read_code() if self._code is None else self._code

    def kill(self) -> None:
        with suppress(ProcessLookupError):  # it has just ended
            if self.poll() is None:
                os.kill(self.pid, signal.SIGKILL)

    def _read_code(self) -> int:
        with self._reports:
            (status,) = _NUMBER.unpack(self._reports.read(_NUMBER.size))
        self._code = os.waitstatus_to_exitcode(status)
        return self._code


def _start_fork(server: socket.socket) -> tuple[_Fork, int]:
    requests, responses, life, reports = os.pipe(), os.pipe(), os.pipe(), os.pipe()
    theirs = (requests[0], responses[1], life[0], reports[1])
    socket.send_fds(server, [b"f"], theirs)
    for descriptor in theirs:
        os.close(descriptor)
    pipes = os.fdopen(requests[1], "wb"), os.fdopen(responses[0], "rb"), os.fdopen(reports[0], "rb", buffering=0)
    return _Fork(*pipes), life[1]


def serve(connection: socket.socket) -> None:
    """Fork a decoding process for each request, until the connection ends. They have loaded GDCM, so each error ends one."""
    decode_image(make_dicom(np.arange(12, dtype=np.uint16).reshape(3, 4)))
    Image.init()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while descriptors := socket.recv_fds(connection, 1, 4)[1]:
        if os.fork() == 0:
            _report(*descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _report(requests: int, responses: int, lifeline: int, reports: int) -> None:
    """Fork a decoding process, report its process id and, when it has ended, its status; does not return."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        _decode(requests, responses, lifeline)
    for descriptor in (requests, responses, lifeline):
        os.close(descriptor)
    os.write(reports, _NUMBER.pack(pid))
    os.write(reports, _NUMBER.pack(os.waitpid(pid, 0)[1]))
    os._exit(0)


def _decode(requests: int, responses: int, lifeline: int) -> None:
    """Decode in the forked process; does not return."""
    try:
        os.setsid()
        os.dup2(lifeline, _LIFELINE)
        os.dup2(requests, 0)
        os.dup2(responses, 1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        os.closerange(3, _LIFELINE)
        sys.stdin = os.fdopen(0)
        decoder_process.main(_LIFELINE)
    finally:
        os._exit(0)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        serve(connection)
