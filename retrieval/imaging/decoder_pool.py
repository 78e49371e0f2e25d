"""A pool of processes that decode untrusted images, with limits on time and memory."""

from __future__ import annotations

import atexit
import os
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec
from PIL import Image

from retrieval import errors
from retrieval.errors import DecoderCrashed, DecodeTimeout, RetrievalError, SystemFailure
from retrieval.imaging.decode import read_file
from retrieval.imaging.decoder_client import DecoderClient
from retrieval.imaging.decoder_process import DONE, FAILED, DecodeTask, Failure, Result
from retrieval.imaging.memory_budget import MemoryBudget, never_cancelled
from retrieval.imaging.model_input import Preprocessing

LIMIT_SECONDS = 10
"""Processor time of one image. The largest accepted image takes 1 to 5 s (benchmarks/results, "Decoding processes")."""

LIMIT_WALL_SECONDS = 30.0
"""Wall time of one image, for busy machines and for decoders that hang without using the processor."""

LIMIT_MEMORY_BYTES = 768 * 1024 * 1024
"""Memory of all images during decoding: one of 64 million pixels in colour, or twenty of 16 million in grey."""

_MODULE = "retrieval.imaging.decoder_process"


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """A decoded image, reduced: one square for each preprocessing, and a small preview if requested.

    `notes` say how its pixels were converted; `seconds` is the time that decoding took.
    """

    squares: dict[Preprocessing, Image.Image]
    small: Image.Image | None
    notes: tuple[str, ...]
    seconds: float


class DecoderPool:
    """Decodes images in other processes: one for each thread that decodes at the same time. Safe in threads.

    Idle processes are kept for the next image, and end with this process. A process that exceeds its time is ended, and its
    image is refused.
    """

    def __init__(
        self,
        *,
        limit_seconds: float = LIMIT_SECONDS,
        limit_wall_seconds: float = LIMIT_WALL_SECONDS,
        limit_memory_bytes: int = LIMIT_MEMORY_BYTES,
        command: Sequence[str] = (sys.executable, "-P", "-m", _MODULE),
    ) -> None:
        """An image may take `limit_seconds` of processor time and `limit_wall_seconds` of wall time."""
        self.limit_seconds = limit_seconds
        self.limit_wall_seconds = limit_wall_seconds
        self.budget = MemoryBudget(limit_memory_bytes)
        self._command = command
        self._lock = threading.Lock()
        self._idle: list[DecoderClient] = []
        self._all: set[DecoderClient] = set()
        if sys.platform != "win32":
            os.register_at_fork(after_in_child=self._forget)

    def decode(self, data: bytes, *, name: str = "the image", allow_burned_in: bool = False) -> Image.Image:
        """As `retrieval.imaging.decode.decode_image`, in another process.

        Raises:
            ImageError: as `decode_image`.
            DecodeTimeout: it took longer than the limits. DecoderCrashed: it crashed the process.
            SystemFailure: no process could be started.
        """
        notes, images = self._run(data, DecodeTask(name, self._seconds, allow_burned_in, whole=True))
        images[0].info = {"notes": notes} if notes else {}
        return images[0]

    def prepare(
        self,
        data: bytes,
        preprocessings: Sequence[Preprocessing],
        *,
        name: str = "the image",
        allow_burned_in: bool = False,
        preview_size: int = 0,
        raise_if_cancelled: Callable[[], None] = never_cancelled,
    ) -> PreparedImage:
        """Decode a file and reduce it in another process; only the reduced images are transferred.

        Args:
            data: The file.
            preprocessings: One for each square that is needed.
            name: The name of the image in error messages.
            allow_burned_in: As in `decode_image`.
            preview_size: Largest width and height of the preview; 0 for none.
            raise_if_cancelled: Called ten times a second. If it raises, the process ends, and the error is passed on.

        Raises:
            ImageError, SystemFailure: as `decode`.
        """
        started = time.perf_counter()
        wanted = tuple(dict.fromkeys(preprocessings))
        task = DecodeTask(name, self._seconds, allow_burned_in, preprocessings=wanted, preview_size=preview_size)
        notes, images = self._run(data, task, raise_if_cancelled)
        squares = dict(zip(wanted, images, strict=False))
        return PreparedImage(squares, images[-1] if preview_size else None, notes, time.perf_counter() - started)

    def start(self) -> None:
        """Start a process for the next image if none is idle; does not wait for it."""
        with self._lock:
            if self._idle:
                return
        self._put_back(self._launch())

    def close(self) -> None:
        """End all processes, also busy ones; the next image starts a new one."""
        with self._lock:
            processes, idle, self._all, self._idle = self._all, self._idle, set(), []
        for process in processes:
            process.kill()
        for process in idle:  # busy ones are closed by the threads that wait for them
            process.end()

    def _forget(self) -> None:
        """Start without processes: after a fork they belong to the parent."""
        self._lock = threading.Lock()
        self._idle, self._all = [], set()

    @property
    def _seconds(self) -> int:
        return max(1, round(self.limit_seconds))

    def _run(
        self, data: bytes, task: DecodeTask, raise_if_cancelled: Callable[[], None] = never_cancelled
    ) -> tuple[tuple[str, ...], list[Image.Image]]:
        process = self._take()
        is_usable = False
        try:
            with ExitStack() as held:
                kind, content = process.request(
                    task, data, self.limit_wall_seconds, self.budget, held, raise_if_cancelled
                )
            is_usable = kind in (DONE, FAILED)
        except TimeoutError:
            raise self._timeout_error(task.name) from None
        except (OSError, EOFError):  # the process ended
            raise self._crash_error(process, task.name) from None
        finally:
            if is_usable:
                self._put_back(process)
            else:
                self._end(process)
        if kind == DONE:
            return _read_pictures(content)
        failure = msgspec.msgpack.decode(content, type=Failure)
        raise _error_class(failure.error)(failure.message)

    def _take(self) -> DecoderClient:
        while True:
            with self._lock:
                process = self._idle.pop() if self._idle else None
            if process is None:
                return self._launch()
            if process.is_alive():
                return process
            self._end(process)

    def _put_back(self, process: DecoderClient) -> None:
        with self._lock:
            if process in self._all:
                self._idle.append(process)

    def _launch(self) -> DecoderClient:
        try:
            process = DecoderClient(self._command)
        except OSError as error:
            raise SystemFailure(f"no process for decoding images can be started: {error.strerror}") from error
        with self._lock:
            self._all.add(process)
        return process

    def _end(self, process: DecoderClient) -> None:
        with self._lock:
            self._all.discard(process)
        process.end()

    def _timeout_error(self, name: str) -> DecodeTimeout:
        return DecodeTimeout(
            f"{name} was not decoded within {self._seconds} s; a normal radiograph takes less than 5 s"
        )

    def _crash_error(self, process: DecoderClient, name: str) -> RetrievalError:
        code = process.end()
        if not process.was_ready:
            return SystemFailure(f"a process for decoding images ended during its start (exit code {code})")
        if sys.platform != "win32" and code == -signal.SIGXCPU:
            return self._timeout_error(name)
        return DecoderCrashed(
            f"{name} crashed the process that decoded it (exit code {code}); it is damaged or hostile"
        )


def _read_pictures(content: bytearray) -> tuple[tuple[str, ...], list[Image.Image]]:
    view = memoryview(content)
    start = 4 + struct.unpack("<I", view[:4])[0]
    result = msgspec.msgpack.decode(view[4:start], type=Result)
    images = []
    for picture in result.pictures:
        size = picture.width * picture.height * len(picture.mode)
        images.append(Image.frombytes(picture.mode, (picture.width, picture.height), view[start : start + size]))
        start += size
    return result.notes, images


def _error_class(name: str) -> type[RetrievalError]:
    found = getattr(errors, name, None)
    return found if isinstance(found, type) and issubclass(found, RetrievalError) else errors.UnreadableImage


def read_image(path: Path) -> tuple[Image.Image, bytes]:
    """Decode the file at `path` in another process; also gives its bytes, for hashing.

    Raises:
        MissingFile: there is no such file.
        ImageError, SystemFailure: as `DecoderPool.decode`.
    """
    data = read_file(path)
    return decoders.decode(data, name=path.name), data


decoders = DecoderPool()
"""The pool of this process."""
atexit.register(decoders.close)
