"""A process of its own in which images are decoded: a hostile file can hold, fill or end it, and costs nobody else.

Run as a program, it answers on stdout what it is asked on stdin, image by image, until stdin ends. A message is its kind,
its length and its content; `retrieval.imaging.decoder_pool` is the other side.
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
"""Lengths of the `Task` and of the file that follow."""
READY, NEED, DONE, FAILED, LAST_FAILED = b"r", b"n", b"d", b"f", b"l"
"""It has started; it needs so many bytes of memory and waits for `GO`; a `Result`, then its pixels; a `Failure`; a
`Failure` after which the process ends."""
GO = b"g"

LIMIT_ADDRESS_BYTES = 3 * 1024**3
_OOM_SCORE = 500
# Freed memory below this is kept for the next image.
_KEPT_BYTES = 128 * 1024 * 1024


class Task(msgspec.Struct, frozen=True):
    """What to make of an image: itself if `whole`, squares for models, a preview of at most `preview_size` pixels.

    `seconds` is the processor time it may take.
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
    """The pictures that were asked for, in the order of `Task`, and notes on how the pixels were made."""

    notes: tuple[str, ...]
    pictures: tuple[Picture, ...]


class Failure(msgspec.Struct, frozen=True):
    """Name of a class of `retrieval.errors`, and its message."""

    error: str
    message: str


class _Conversation:
    """Reads tasks, asks for memory and answers."""

    def __init__(self, questions: BinaryIO, answers: BinaryIO) -> None:
        self._questions = questions
        self._answers = answers
        self.needed = 0

    def next(self) -> tuple[Task, bytes] | None:
        head = self._questions.read(REQUEST.size)
        if len(head) < REQUEST.size:
            return None
        task_length, length = REQUEST.unpack(head)
        task = msgspec.msgpack.decode(self._questions.read(task_length), type=Task)
        self.needed = length
        return task, self._questions.read(length)

    def reserve(self, needed: int) -> None:
        """Wait until there is room for `needed` bytes beside the file."""
        self.needed += needed
        self.say(NEED, struct.pack("<Q", self.needed))
        if self._questions.read(1) != GO:
            raise EOFError

    def say(self, kind: bytes, *contents: bytes) -> None:
        self._answers.write(HEAD.pack(kind, sum(map(len, contents))))
        for content in contents:
            self._answers.write(content)
        self._answers.flush()


def main(lifeline: int | None = None) -> None:
    """Answer until there are no more questions. `lifeline` is a pipe that ends when the parent does, on Linux."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # sent to a whole service: the parent still finishes its requests
    if sys.platform == "linux" and lifeline is not None:
        _die_with(lifeline)
    else:
        threading.Thread(target=_die_after, args=(os.getppid(),), daemon=True).start()
    _confine()
    # What a decoder writes to stdout must not come among the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    conversation = _Conversation(sys.stdin.buffer, answers)
    conversation.say(READY)
    while (asked := conversation.next()) is not None:
        task, data = asked
        del asked
        _allow_seconds(task.seconds)
        try:
            notes, images = _answer(task, data, conversation)
        except RetrievalError as error:
            # What GDCM could not decode may have damaged its memory without ending it yet.
            is_last = "gdcm" in sys.modules
            failure = Failure(type(error).__name__, str(error))
            conversation.say(LAST_FAILED if is_last else FAILED, msgspec.msgpack.encode(failure))
            if is_last:
                return
        except MemoryError:
            failure = Failure(DecoderCrashed.__name__, f"{task.name} needs more memory than one image may have")
            conversation.say(LAST_FAILED, msgspec.msgpack.encode(failure))
            return
        else:
            pictures = tuple(Picture(image.mode, *image.size) for image in images)
            result = msgspec.msgpack.encode(Result(notes, pictures))
            pixels = (image.tobytes() for image in images)
            conversation.say(DONE, struct.pack("<I", len(result)), result, *pixels)
            del images, pixels
        del data
        if conversation.needed > _KEPT_BYTES:
            _give_back_memory()


def _answer(task: Task, data: bytes, conversation: _Conversation) -> tuple[tuple[str, ...], list[Image.Image]]:
    image = decode_image(
        data, name=task.name, allow_burned_in=task.allow_burned_in, reserve=_with_canvas(task, conversation)
    )
    images = [image] if task.whole else []
    images += [ImagePreprocessor(preprocessing).resize(image) for preprocessing in task.preprocessings]
    if task.preview_size:
        if task.whole:
            image = image.copy()
        image.thumbnail((task.preview_size, task.preview_size), Image.Resampling.BILINEAR)
        images.append(image)
    return tuple(image.info.get("notes", ())), images


def _with_canvas(task: Task, conversation: _Conversation) -> Reserve:
    """`_Conversation.reserve` with room for the square that some models pad an image to."""
    pads = any(preprocessing.mode == "pad_square" for preprocessing in task.preprocessings)

    def reserve(width: int, height: int, channel_bytes: int, needed: int) -> None:
        canvas = channel_bytes * min(max(width, height) ** 2, LIMIT_CANVAS_PIXELS) if pads else 0
        conversation.reserve(needed + canvas)

    return reserve


def _die_with(lifeline: int) -> None:
    """End at once, whatever runs, when nobody holds the other end of `lifeline`: its signal's default is the end."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
            fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)


def _die_after(parent: int) -> None:
    """End when the process `parent` has ended. macOS ignores the signal of `_die_with`, and Windows has none."""
    try:
        psutil.Process(parent).wait()
    except psutil.NoSuchProcess:
        pass
    except psutil.Error:  # it may not be watched: this process ends when its stdin does
        return
    os._exit(1)


def _confine() -> None:
    """Limit memory, where the system can: macOS enforces no limit on addresses, and Windows has none."""
    if sys.platform != "win32":
        with contextlib.suppress(ValueError, OSError):  # a stricter limit may be set already
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_AS, (LIMIT_ADDRESS_BYTES, LIMIT_ADDRESS_BYTES))
    if sys.platform == "linux":
        # Where memory runs out, this process is ended and not the one that holds the index.
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write(str(_OOM_SCORE))


def _allow_seconds(seconds: int) -> None:
    """Let the kernel end this process after so much more processor time: a busy machine does not count."""
    if sys.platform != "win32":
        with contextlib.suppress(ValueError, OSError):
            _, hard = resource.getrlimit(resource.RLIMIT_CPU)
            resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + 1 + seconds, hard))


def _give_back_memory() -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # of glibc alone
            ctypes.CDLL(None).malloc_trim(0)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
