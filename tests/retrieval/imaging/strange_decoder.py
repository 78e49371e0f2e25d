"""A decoding process that fails: `python strange_decoder.py HOW LIFELINE`, with HOW from `WAYS`."""

from __future__ import annotations

import os
import signal
import sys
import time

import numpy as np

from retrieval.imaging import decoder_process
from retrieval.imaging.decoder_process import HEAD, READY


def sleep(*_: object) -> None:
    time.sleep(60)


def spin(*_: object) -> None:
    while True:
        pass


def crash(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def leave(*_: object) -> None:
    os._exit(0)


def swell(*_: object) -> None:
    np.ones(8 * 1024**3, dtype=np.uint8)


def babble(*_: object) -> None:
    sys.stdout.flush()
    os.write(3 if len(sys.argv) > 3 else 1, HEAD.pack(b"?", 2**60))
    time.sleep(60)


WAYS = {function.__name__: function for function in (sleep, spin, crash, leave, swell)}

if __name__ == "__main__":
    how, lifeline = sys.argv[1], int(sys.argv[2])
    if how == "never ready":
        sys.exit(3)
    if how == "babble":
        os.write(1, HEAD.pack(READY, 0))
        os.write(1, HEAD.pack(b"?", 2**60))
        time.sleep(60)
    else:
        decoder_process._process = WAYS[how]  # type: ignore[assignment]
        decoder_process.main(lifeline)
