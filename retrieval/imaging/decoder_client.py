"""One decoding process, as the process that started it sees it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import msgspec

import retrieval
from retrieval.imaging.decode import LIMIT_PIXELS
from retrieval.imaging.decoder_process import DONE, FAILED, GO, HEAD, LAST_FAILED, NEED, READY, REQUEST, Task
from retrieval.imaging.memory_budget import CHECK_SECONDS, MemoryBudget

_LIMIT_MESSAGE_BYTES = 4 * LIMIT_PIXELS
_PIPE_BYTES = 1024 * 1024
_START_SECONDS = 60.0


class Decoder:
    """One process, used by one thread at a time. `was_ready` tells that it has started well."""

    def __init__(self, command: Sequence[str]) -> None:
        """Start `command`, to which the descriptor of its lifeline is added; OSError where that fails."""
        self.was_ready = False
        # One memory arena and no threads of numpy: the address space is limited.
        paths = [str(Path(retrieval.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "OPENBLAS_NUM_THREADS": "1",
            "MALLOC_ARENA_MAX": "1",
        }
        reading, self._lifeline = os.pipe()
        try:
            self._process = subprocess.Popen(
                [*command, str(reading)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=(reading,),
                env=environment,
                start_new_session=True,  # Ctrl-C is for the parent to heed
            )
        except BaseException:
            os.close(self._lifeline)
            raise
        finally:
            os.close(reading)
        with contextlib.suppress(AttributeError, OSError):  # Linux has it; files of megabytes pass in fewer turns
            for pipe in self._pipes:
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def is_alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def ask(
        self,
        task: Task,
        data: bytes,
        seconds: float,
        budget: MemoryBudget,
        held: ExitStack,
        raise_if_cancelled: Callable[[], None],
    ) -> tuple[bytes, bytearray]:
        """Kind and content of the answer. The memory it needs is taken from `budget` into `held`; waiting costs no time.

        Raises:
            TimeoutError: there is none within `seconds`. OSError, EOFError: the process died.
            Exception: what `raise_if_cancelled`, which is called ten times a second, raises.
        """
        if not self.was_ready:
            self._read(time.monotonic() + _START_SECONDS, raise_if_cancelled)
            self.was_ready = True
        encoded = msgspec.msgpack.encode(task)
        self._write(REQUEST.pack(len(encoded), len(data)) + encoded, data)
        deadline = time.monotonic() + seconds
        while (answer := self._read(deadline, raise_if_cancelled))[0] == NEED:
            held.enter_context(budget.hold(struct.unpack("<Q", answer[1])[0], raise_if_cancelled))
            self._write(GO)
            deadline = time.monotonic() + seconds
        return answer

    def end(self) -> int:
        """End the process; gives its exit code."""
        self.kill()
        for pipe in self._pipes:
            with contextlib.suppress(OSError):  # what was still to be written has no reader
                pipe.close()
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
        return self._process.wait()

    def kill(self) -> None:
        """End the process while another thread may still wait for its answer."""
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
            raise EOFError  # it has lost its mind
        return kind, self._read_bytes(length, deadline, raise_if_cancelled)

    def _read_bytes(self, count: int, deadline: float, raise_if_cancelled: Callable[[], None]) -> bytearray:
        descriptor = self._pipes[1].fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        content = bytearray(count)
        view, done = memoryview(content), 0
        while done < count:
            left_s = max(0.0, deadline - time.monotonic())
            if not poll.poll(min(left_s, CHECK_SECONDS) * 1000):
                raise_if_cancelled()
                if left_s <= CHECK_SECONDS:
                    raise TimeoutError
                continue
            read = os.readv(descriptor, [view[done:]])
            if not read:
                raise EOFError
            done += read
        return content
