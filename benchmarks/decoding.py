"""Measures time and memory of image decoding in separate processes.

    python -m benchmarks.decoding

"Here" decodes, resizes and makes the thumbnail in the calling process; "there" does the same in a decoding process. Both
alternate on the same files. `benchmarks.attacks` measures a whole service with bad images.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.bad_images import LARGE_MODES, encode, large
from benchmarks.result_file import write_result
from ingest.thumbnails import THUMBNAIL_SIZE
from retrieval.errors import ImageError
from retrieval.imaging.decode import decode_image
from retrieval.imaging.decoder_pool import DecoderPool
from retrieval.imaging.model_input import Preprocessing
from retrieval.imaging.preprocess import ImagePreprocessor

SQUARE = Preprocessing(mode="stretch", size=224, interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3)


def main() -> None:
    """Measure the time of typical images and the memory of the largest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20, help="repeats of each file (default: %(default)s)")
    repeats = parser.parse_args().repeats
    figures = {
        "cost": {name: compare(data, repeats) for name, data in typical_files().items()},
        "largest": {mode: measure_largest(large(mode)) for mode in LARGE_MODES},
    }
    write_result("decoding", figures)


def typical_files() -> dict[str, bytes]:
    """Typical files of archives, by name."""
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 4096, (64, 64)).astype(np.int32)).resize(
        (2048, 2048), Image.Resampling.BICUBIC
    )
    film = np.clip(np.asarray(smooth) + rng.integers(0, 8, (2048, 2048)), 0, 4095).astype(np.uint16)
    grey = Image.fromarray((film >> 4).astype(np.uint8))
    return {
        "JPEG 256 px": encode(grey.resize((256, 256)), "JPEG"),
        "PNG 2,048 px": encode(grey, "PNG"),
        "PNG 2,048 px, 16 bits": encode(Image.fromarray(film), "PNG"),
        "JPEG 2,048 px": encode(grey, "JPEG"),
    }


def compare(data: bytes, repeats: int) -> dict[str, float]:
    """Milliseconds of one image here and there, median and minimum."""
    pool, here, there = DecoderPool(), [], []
    pool.prepare(data, [SQUARE], preview_size=THUMBNAIL_SIZE)
    for _ in range(repeats):
        here.append(timed(lambda: decode_here(data)))
        there.append(timed(lambda: pool.prepare(data, [SQUARE], preview_size=THUMBNAIL_SIZE)))
    pool.close()
    return {
        "bytes": len(data),
        "here_ms": round(float(np.median(here)) * 1000, 2),
        "there_ms": round(float(np.median(there)) * 1000, 2),
        "here_least_ms": round(min(here) * 1000, 2),
        "there_least_ms": round(min(there) * 1000, 2),
    }


def decode_here(data: bytes) -> None:
    image = decode_image(data)
    ImagePreprocessor(SQUARE).resize(image)
    image.thumbnail((THUMBNAIL_SIZE, THUMBNAIL_SIZE), Image.Resampling.BILINEAR)


def measure_largest(data: bytes) -> dict[str, float]:
    """Decoding of 64 million pixels: estimated, peak and kept memory in MB, and seconds."""
    pool = DecoderPool()
    needs: list[int] = []
    pool.prepare(encode(Image.radial_gradient("L"), "PNG"), [SQUARE])
    (process,) = pool._all
    idle = megabytes_of(process._process.pid, "status", "VmHWM")
    hold = pool.budget.hold

    def record_and_hold(size: int, raise_if_cancelled: Callable[[], None]) -> AbstractContextManager[None]:
        needs.append(size)
        return hold(size, raise_if_cancelled)

    pool.budget.hold = record_and_hold  # type: ignore[method-assign,assignment]
    seconds = timed(lambda: pool.prepare(data, [SQUARE], preview_size=THUMBNAIL_SIZE))
    took = megabytes_of(process._process.pid, "status", "VmHWM") - idle
    kept = megabytes_of(process._process.pid, "status", "VmRSS") - idle
    pool.close()
    return {"reckoned_mb": needs[0] >> 20, "took_mb": took, "kept_mb": kept, "seconds": round(seconds, 2)}


def megabytes_of(process: int, file: str, field: str) -> int:
    try:
        lines = Path(f"/proc/{process}/{file}").read_text(encoding="utf-8").splitlines()
    except OSError:  # it has ended
        return 0
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith(f"{field}:")), 0)


def timed(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    try:
        call()
    except ImageError as error:
        print(f"refused: {error}", file=sys.stderr)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
