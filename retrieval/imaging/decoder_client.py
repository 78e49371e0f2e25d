"""A client of one decoding process (`retrieval.imaging.decoder_process`), which it starts and ends."""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import msgspec

import retrieval
from retrieval.imaging.decode import LIMIT_PIXELS
from retrieval.imaging.decoder_process import DONE, FAILED, GO, HEAD, LAST_FAILED, NEED, READY, REQUEST, DecodeTask
from retrieval.imaging.memory_budget import CHECK_SECONDS, MemoryBudget
from retrieval.imaging.pipe_reader import open_reader

if sys.platform == "linux":
    import fcntl

_LIMIT_MESSAGE_BYTES = 4 * LIMIT_PIXELS
_PIPE_BYTES = 1024 * 1024
_START_SECONDS = 60.0


class DecoderClient:
    """Starts a decoding process and sends it tasks; used by one thread at a time. `was_ready`: the process has started."""

    def __init__(self, command: Sequence[str]) -> None:
        """Start `command`; OSError if that fails. On Linux the descriptor of the lifeline is appended to the command."""
        self.was_ready = False
        # The address space is limited, so one memory arena and no numpy threads.
        paths = [str(Path(retrieval.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "OPENBLAS_NUM_THREADS": "1",
            "MALLOC_ARENA_MAX": "1",
        }
        self._process, self._lifeline = _start(command, environment)
        self._reader = open_reader(self._pipes[1].fileno())

    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def request(
        self,
        task: DecodeTask,
        data: bytes,
        seconds: float,
        budget: MemoryBudget,
        held: ExitStack,
        raise_if_cancelled: Callable[[], None],
    ) -> tuple[bytes, bytearray]:
        """Kind and content of the response to `task`.

        The memory for it is reserved from `budget` and released by `held`; waiting for memory does not count as time.
        `raise_if_cancelled` is called ten times a second; its exceptions are passed on.

        Raises:
            TimeoutError: no response within `seconds`. OSError, EOFError: the process ended.
        """
        if not self.was_ready:
            self._read(time.monotonic() + _START_SECONDS, raise_if_cancelled)
            self.was_ready = True
        encoded = msgspec.msgpack.encode(task)
        self._write(REQUEST.pack(len(encoded), len(data)) + encoded, data)
        deadline = time.monotonic() + seconds
        while (response := self._read(deadline, raise_if_cancelled))[0] == NEED:
            held.enter_context(budget.hold(struct.unpack("<Q", response[1])[0], raise_if_cancelled))
            self._write(GO)
            deadline = time.monotonic() + seconds
        return response

    def end(self) -> int:
        """End the process and return its exit code."""
        self.kill()
        self._reader.close()
        for pipe in self._pipes:
            with contextlib.suppress(OSError):  # nobody reads the rest of the buffer
                pipe.close()
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
        return self._process.wait()

    def kill(self) -> None:
        """End the process, even while another thread waits for its response."""
        self._process.kill()
        self._process.wait()

    @property
    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        return self._process.stdin, self._process.stdout

    def _write(self, *contents: bytes) -> None:
        stdin, _ = self._pipes
        for content in contents:
            stdin.write(content)
        stdin.flush()

    def _read(self, deadline: float, raise_if_cancelled: Callable[[], None]) -> tuple[bytes, bytearray]:
        kind, length = HEAD.unpack(self._read_bytes(HEAD.size, deadline, raise_if_cancelled))
        if kind not in (READY, NEED, DONE, FAILED, LAST_FAILED) or length > _LIMIT_MESSAGE_BYTES:
            raise EOFError  # the process is corrupted
        return kind, self._read_bytes(length, deadline, raise_if_cancelled)

    def _read_bytes(self, count: int, deadline: float, raise_if_cancelled: Callable[[], None]) -> bytearray:
        content = bytearray(count)
        view, done = memoryview(content), 0
        while done < count:
            left_s = max(0.0, deadline - time.monotonic())
            read = self._reader.read_into(view[done:], min(left_s, CHECK_SECONDS))
            if read is None:
                raise_if_cancelled()
                if left_s <= CHECK_SECONDS:
                    raise TimeoutError
                continue
            if not read:
                raise EOFError
            done += read
        return content


def _start_watching(command: Sequence[str], environment: dict[str, str]) -> tuple[subprocess.Popen[bytes], int]:
    """The process, which watches its parent itself, and -1 instead of a lifeline."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        # Ctrl-C is for the parent. Windows has groups instead of sessions.
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )
    return process, -1


_start = _start_watching

if sys.platform == "linux":

    def _start_with_lifeline(
        command: Sequence[str], environment: dict[str, str]
    ) -> tuple[subprocess.Popen[bytes], int]:
        """The process, and the writing end of its lifeline: the process ends when that is closed."""
        reading, lifeline = os.pipe()
        try:
            process = subprocess.Popen(
                [*command, str(reading)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=(reading,),
                env=environment,
                start_new_session=True,  # Ctrl-C is for the parent
            )
        except BaseException:
            os.close(lifeline)
            raise
        finally:
            os.close(reading)
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(OSError):  # files of megabytes pass in fewer turns
            for pipe in (process.stdin, process.stdout):
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        return process, lifeline

    _start = _start_with_lifeline
