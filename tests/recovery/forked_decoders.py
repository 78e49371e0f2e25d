"""Decoding processes that start in milliseconds: forks of a process that has imported the program, with the real main loop."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import IO

from retrieval.imaging import decoder_client, decoder_process
from retrieval.imaging.decoder_pool import decoders


class ForkedProcess:
    """The part of `subprocess.Popen` that `DecoderClient` uses."""

    def __init__(self, pid: int, stdin: IO[bytes], stdout: IO[bytes]) -> None:
        self.pid, self.stdin, self.stdout = pid, stdin, stdout
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self._wait(os.WNOHANG)

    def wait(self) -> int | None:
        return self._wait(0)

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def _wait(self, options: int) -> int | None:
        if self.returncode is None:
            ended, status = os.waitpid(self.pid, options)
            if ended:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


def start_forked_decoders(count: int) -> None:
    """Fork `count` decoding processes for the pool of this process, which must not have started threads."""
    start: Callable[..., object] = decoder_client._start
    decoder_client._start = _start_forked  # type: ignore[assignment]
    started = [decoders._launch() for _ in range(count)]
    decoder_client._start = start  # type: ignore[assignment]
    for process in started:
        decoders._put_back(process)


def _start_forked(_command: object, _environment: object) -> tuple[ForkedProcess, int]:
    requests, responses, life = os.pipe(), os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        _decode(requests[0], responses[1], life[0])
    for descriptor in (requests[0], responses[1], life[0]):
        os.close(descriptor)
    return ForkedProcess(pid, os.fdopen(requests[1], "wb"), os.fdopen(responses[0], "rb")), life[1]


def _decode(requests: int, responses: int, lifeline: int) -> None:
    """Decode in the forked process; does not return."""
    try:
        os.setsid()
        kept = os.dup2(lifeline, 200)
        os.dup2(requests, 0)
        os.dup2(responses, 1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        os.closerange(3, kept)
        os.closerange(kept + 1, 1024)
        sys.stdin = os.fdopen(0)
        decoder_process.main(kept)
    finally:
        os._exit(0)
