"""JPEG Lossless and JPEG-LS, decoded by GDCM in processes that may die without taking this one along."""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

from retrieval.errors import MissingExtra
from retrieval.imaging.codec_process import ANSWER, REQUEST
from retrieval.imaging.codestream import Codestream

LIMIT_SECONDS = 60.0
"""A radiograph takes a tenth of a second; a decoder that runs this long will not end."""

_PROGRAM = Path(__file__).with_name("codec_process.py")


class CodecPool:
    """Decoder processes: one for each thread that decodes at the same time, kept for the next frame."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[subprocess.Popen[bytes]] = []

    def decode(self, frame: bytes, codestream: Codestream, transfer_syntax: str) -> bytes | None:
        """The samples of `frame`, little-endian, 1 or 2 bytes each, colour by pixel; None where they cannot be decoded.

        Raises:
            MissingExtra: python-gdcm is not installed.
        """
        process = self._take()
        watch = threading.Timer(LIMIT_SECONDS, process.kill)
        watch.daemon = True
        watch.start()
        try:
            samples = _ask(process, frame, codestream, transfer_syntax)
        except OSError:  # it died, as it does of damaged data
            samples = None
        finally:
            watch.cancel()
        if not samples:
            # What could not be decoded may have damaged the decoder's memory without ending it yet.
            _end(process)
            return None
        with self._lock:
            self._idle.append(process)
        return samples

    def close(self) -> None:
        """End the processes; the next frame starts a new one."""
        with self._lock:
            idle, self._idle = self._idle, []
        for process in idle:
            _end(process)

    def _take(self) -> subprocess.Popen[bytes]:
        with self._lock:
            while self._idle:
                process = self._idle.pop()
                if process.poll() is None:
                    return process
                _end(process)
        if importlib.util.find_spec("gdcm") is None:
            raise MissingExtra(
                "JPEG Lossless and JPEG-LS need python-gdcm; install it with: pip install 'cxr-retrieval[dicom]'"
            )
        # -P: the program's own folder must not shadow the modules it imports.
        return subprocess.Popen(
            [sys.executable, "-P", str(_PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )


def _ask(process: subprocess.Popen[bytes], frame: bytes, codestream: Codestream, transfer_syntax: str) -> bytes | None:
    """The answer of `process`, empty where it could not decode; None where it died."""
    bits_allocated = 8 if codestream.precision <= 8 else 16
    head = REQUEST.pack(
        transfer_syntax.encode("ascii"),
        codestream.rows,
        codestream.columns,
        codestream.samples,
        bits_allocated,
        codestream.precision,
        len(frame),
    )
    questions, answers = _pipes(process)
    questions.write(head + frame)
    questions.flush()
    length = answers.read(ANSWER.size)
    if len(length) < ANSWER.size:
        return None
    samples = answers.read(ANSWER.unpack(length)[0])
    return samples if len(samples) == ANSWER.unpack(length)[0] else None


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    for pipe in _pipes(process):
        with contextlib.suppress(OSError):  # what was still to be written has no reader
            pipe.close()
    process.wait()


codecs = CodecPool()
atexit.register(codecs.close)
