"""The process that decodes untrusted images: a hostile file can block it, fill its memory or crash it, and nothing else.

Run as a program, it reads tasks from stdin and writes results to stdout, one image at a time, until stdin ends. A message is
its kind, its length and its content. `retrieval.imaging.decoder_client` is the client.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import struct
import sys
import threading
import time
from typing import BinaryIO

import msgspec
import psutil
from PIL import Image

from retrieval.errors import DecoderCrashed, RetrievalError
from retrieval.imaging.decode import Reserve, decode_image
from retrieval.imaging.model_input import Preprocessing
from retrieval.imaging.preprocess import LIMIT_CANVAS_PIXELS, ImagePreprocessor

if sys.platform != "win32":
    import fcntl
    import resource

HEAD = struct.Struct("<cQ")
REQUEST = struct.Struct("<QQ")
"""Lengths of the `DecodeTask` and of the file that follow."""
READY, NEED, DONE, FAILED, LAST_FAILED = b"r", b"n", b"d", b"f", b"l"
"""Messages: the process has started; it needs that many bytes of memory and waits for `GO`; a `Result` and its pixels; a
`Failure`; a `Failure` after which the process ends."""
GO = b"g"

LIMIT_ADDRESS_BYTES = 3 * 1024**3
_OOM_SCORE = 500
# Less freed memory than this is kept for the next image.
_KEPT_BYTES = 128 * 1024 * 1024


class DecodeTask(msgspec.Struct, frozen=True):
    """The pictures to make of an image: itself if `whole`, squares for models, a preview of at most `preview_size` pixels.

    `seconds` is the limit on processor time.
    """

    name: str
    seconds: int
    allow_burned_in: bool = False
    whole: bool = False
    preprocessings: tuple[Preprocessing, ...] = ()
    preview_size: int = 0


class Picture(msgspec.Struct, frozen=True):
    """An image whose pixels follow, row by row; `mode` is `L` or `RGB`."""

    mode: str
    width: int
    height: int


class Result(msgspec.Struct, frozen=True):
    """The pictures of a `DecodeTask`, in its order, and notes on how the pixels were converted."""

    notes: tuple[str, ...]
    pictures: tuple[Picture, ...]


class Failure(msgspec.Struct, frozen=True):
    """The name of a class of `retrieval.errors`, and the message."""

    error: str
    message: str


class _Connection:
    """Reads tasks, reserves memory and sends results."""

    def __init__(self, requests: BinaryIO, responses: BinaryIO) -> None:
        self._requests = requests
        self._responses = responses
        self.needed = 0

    def next(self) -> tuple[DecodeTask, bytes] | None:
        head = self._requests.read(REQUEST.size)
        if len(head) < REQUEST.size:
            return None
        task_length, length = REQUEST.unpack(head)
        task = msgspec.msgpack.decode(self._requests.read(task_length), type=DecodeTask)
        self.needed = length
        return task, self._requests.read(length)

    def reserve(self, needed: int) -> None:
        """Wait until there is room for `needed` bytes beside the file."""
        self.needed += needed
        self.send(NEED, struct.pack("<Q", self.needed))
        if self._requests.read(1) != GO:
            raise EOFError

    def send(self, kind: bytes, *contents: bytes) -> None:
        self._responses.write(HEAD.pack(kind, sum(map(len, contents))))
        for content in contents:
            self._responses.write(content)
        self._responses.flush()


def main(lifeline: int | None = None) -> None:
    """Process tasks until stdin ends. `lifeline`, on Linux, is a pipe that closes when the parent ends."""
    # A service manager sends SIGTERM to all processes of a service; the parent still finishes its requests.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.platform == "linux" and lifeline is not None:
        _end_with(lifeline)
    else:
        threading.Thread(target=_end_after, args=(os.getppid(),), daemon=True).start()
    _limit_memory()
    # Output of decoders must not mix with the responses.
    responses = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    connection = _Connection(sys.stdin.buffer, responses)
    connection.send(READY)
    while (request := connection.next()) is not None:
        task, data = request
        del request
        _allow_seconds(task.seconds)
        try:
            notes, images = _process(task, data, connection)
        except RetrievalError as error:
            # Data that GDCM could not decode may have corrupted the memory of this process.
            is_last = "gdcm" in sys.modules
            failure = Failure(type(error).__name__, str(error))
            connection.send(LAST_FAILED if is_last else FAILED, msgspec.msgpack.encode(failure))
            if is_last:
                return
        except MemoryError:
            failure = Failure(DecoderCrashed.__name__, f"{task.name} needs more memory than the limit for one image")
            connection.send(LAST_FAILED, msgspec.msgpack.encode(failure))
            return
        else:
            pictures = tuple(Picture(image.mode, *image.size) for image in images)
            result = msgspec.msgpack.encode(Result(notes, pictures))
            pixels = (image.tobytes() for image in images)
            connection.send(DONE, struct.pack("<I", len(result)), result, *pixels)
            del images, pixels
        del data
        if connection.needed > _KEPT_BYTES:
            _return_memory()


def _process(task: DecodeTask, data: bytes, connection: _Connection) -> tuple[tuple[str, ...], list[Image.Image]]:
    image = decode_image(
        data, name=task.name, allow_burned_in=task.allow_burned_in, reserve=_with_canvas(task, connection)
    )
    images = [image] if task.whole else []
    images += [ImagePreprocessor(preprocessing).resize(image) for preprocessing in task.preprocessings]
    if task.preview_size:
        if task.whole:
            image = image.copy()
        image.thumbnail((task.preview_size, task.preview_size), Image.Resampling.BILINEAR)
        images.append(image)
    return tuple(image.info.get("notes", ())), images


def _with_canvas(task: DecodeTask, connection: _Connection) -> Reserve:
    """`_Connection.reserve`, with room for the square to which some models pad an image."""
    pads = any(preprocessing.mode == "pad_square" for preprocessing in task.preprocessings)

    def reserve(width: int, height: int, channel_bytes: int, needed: int) -> None:
        canvas = channel_bytes * min(max(width, height) ** 2, LIMIT_CANVAS_PIXELS) if pads else 0
        connection.reserve(needed + canvas)

    return reserve


def _end_with(lifeline: int) -> None:
    """Let the system end this process at once when the other end of `lifeline` closes (the default action of SIGIO)."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
            fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)


def _end_after(parent: int) -> None:
    """End this process when the process `parent` has ended. macOS ignores the signal of `_end_with`; Windows has none."""
    try:
        psutil.Process(parent).wait()
    except psutil.NoSuchProcess:
        pass
    except psutil.Error:  # no right to watch it: this process ends when its stdin does
        return
    os._exit(1)


def _limit_memory() -> None:
    """Limit memory, where the system supports it: macOS enforces no limit on addresses, and Windows has none."""
    if sys.platform != "win32":
        with contextlib.suppress(ValueError, OSError):  # a stricter limit may be set already
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_AS, (LIMIT_ADDRESS_BYTES, LIMIT_ADDRESS_BYTES))
    if sys.platform == "linux":
        # If the machine runs out of memory, the kernel ends this process instead of the service.
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write(str(_OOM_SCORE))


def _allow_seconds(seconds: int) -> None:
    """Let the kernel end this process after `seconds` more of processor time; time of other processes does not count."""
    if sys.platform != "win32":
        with contextlib.suppress(ValueError, OSError):
            _, hard = resource.getrlimit(resource.RLIMIT_CPU)
            resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + 1 + seconds, hard))


def _return_memory() -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # only glibc has it
            ctypes.CDLL(None).malloc_trim(0)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
