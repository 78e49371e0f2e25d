"""What decoding in processes of their own costs and holds, and a service under sixteen bad images at once.

    python -m benchmarks.decoding

"Here" decodes, resizes and makes the thumbnail in the calling process, as before there were such processes; "there" asks
one of them. Both take turns on the same files. Memory is the proportional set size of the service and its children together,
sampled twenty times a second, above what they hold while idle.
"""

from __future__ import annotations

import argparse
import io
import os
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from benchmarks.record import write_result
from retrieval.bundle import Preprocessing
from retrieval.errors import ImageError
from retrieval.imaging.decode import decode_image
from retrieval.imaging.decoders import DecoderPool
from retrieval.imaging.preprocess import ImagePreprocessor
from retrieval.media import SIDE

SQUARE = Preprocessing(mode="stretch", size=224, interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3)
UPLOADS = 16
MODES = ("L", "LA", "P", "RGB", "RGBA", "I;16")


def main() -> None:
    """Measure the cost of an image, the memory of the largest, and the service under attack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20, help="of each honest file (default: %(default)s)")
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        figures = {
            "cost": {name: compare(data, repeats) for name, data in honest_files().items()},
            "largest": {mode: measure_largest(film(mode)) for mode in MODES},
            "attacks": attack(Path(folder)),
        }
    write_result("decoding", figures)


def honest_files() -> dict[str, bytes]:
    """Files as archives hold them, by name."""
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 4096, (64, 64)).astype(np.int32)).resize(
        (2048, 2048), Image.Resampling.BICUBIC
    )
    film = np.clip(np.asarray(smooth) + rng.integers(0, 8, (2048, 2048)), 0, 4095).astype(np.uint16)
    grey = Image.fromarray((film >> 4).astype(np.uint8))
    return {
        "JPEG 256 px": encoded(grey.resize((256, 256)), "JPEG"),
        "PNG 2,048 px": encoded(grey, "PNG"),
        "PNG 2,048 px, 16 bits": encoded(Image.fromarray(film), "PNG"),
        "JPEG 2,048 px": encoded(grey, "JPEG"),
    }


def compare(data: bytes, repeats: int) -> dict[str, float]:
    """Median milliseconds of one image here and there."""
    pool, here, there = DecoderPool(), [], []
    pool.prepare(data, [SQUARE], side=SIDE)
    for _ in range(repeats):
        here.append(timed(lambda: decode_here(data)))
        there.append(timed(lambda: pool.prepare(data, [SQUARE], side=SIDE)))
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
    image.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR)


def measure_largest(data: bytes) -> dict[str, float]:
    """Megabytes that decoding 64 million pixels was reckoned to need, those that it took at its highest, and seconds."""
    pool, needs = DecoderPool(), []
    pool.prepare(encoded(Image.radial_gradient("L"), "PNG"), [SQUARE])
    (process,) = pool._all
    idle = megabytes_of(process._process.pid, "status", "VmHWM")
    hold = pool.budget.hold
    pool.budget.hold = lambda size: needs.append(size) or hold(size)  # type: ignore[func-returns-value,method-assign,assignment]
    seconds = timed(lambda: pool.prepare(data, [SQUARE], side=SIDE))
    took = megabytes_of(process._process.pid, "status", "VmHWM") - idle
    kept = megabytes_of(process._process.pid, "status", "VmRSS") - idle
    pool.close()
    return {"reckoned_mb": needs[0] >> 20, "took_mb": took, "kept_mb": kept, "seconds": round(seconds, 2)}


def bad_files() -> dict[str, bytes]:
    """Uploads that once held the service up or filled its memory, and relatives of theirs."""
    small = encoded(Image.new("L", (64, 64), 128), "JPEG")
    exif = b"\xff\xe1" + struct.pack(">H", 58) + b"Exif\0\0" + b"M" * 50
    png = encoded(Image.new("L", (64, 64)), "PNG")
    empty = struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    return {
        "12,000 scans": many_scans(12_000),
        "60 scans": many_scans(60),
        "60,000 EXIF segments": small[:2] + exif * 60_000 + small[2:],
        "60 MB of padding": small[:2] + b"\xff" * 60_000_000 + small[2:],
        "4 million PNG chunks": png[:33] + empty * 4_000_000 + png[33:],
        **{f"64 million pixels {mode}": film(mode) for mode in ("RGBA", "I;16")},
    }


def attack(folder: Path) -> dict[str, Any]:
    """The service under `UPLOADS` of each bad file at once, and its end by SIGTERM under the first of them."""
    environment = os.environ | {"CXR_HOME": str(folder / "home"), "CXR_SERVICE_RATE_PER_MINUTE": "0"}
    cxr = [sys.executable, "-m", "cxr"]
    images = folder / "images"
    images.mkdir()
    for number in range(4):
        Image.linear_gradient("L").rotate(90 * number).save(images / f"{number}.png")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
    subprocess.run([*cxr, "ingest", "--model", "phantom-clip", "--images-dir", images], check=False, **quiet)
    subprocess.run([*cxr, "use", "phantom-clip"], check=True, **quiet)
    server = subprocess.Popen([*cxr, "serve", "--port", "0"], stderr=subprocess.PIPE, text=True, env=environment)
    try:
        address = next(line for line in server.stderr or () if "serving on" in line).split()[2]
        threading.Thread(target=lambda: [None for _ in server.stderr or ()], daemon=True).start()
        until(lambda: httpx.get(f"{address}/health/live").status_code == 200)
        ask_image(address, encoded(Image.radial_gradient("L"), "PNG"))
        time.sleep(2)
        idle = memory_of(server.pid)
        found = {}
        for name, data in bad_files().items():
            found[name] = attack_with(address, data, server.pid, idle)
            print(name, found[name], file=sys.stderr, flush=True)
        senders = [threading.Thread(target=ask_image, args=(address, many_scans(60))) for _ in range(UPLOADS)]
        for sender in senders:
            sender.start()
        time.sleep(1)
        server.send_signal(signal.SIGTERM)
        ended = timed(lambda: server.wait(60))
        return {"idle_mb": idle, "files": found, "seconds_from_sigterm_to_end": round(ended, 2)}
    finally:
        server.kill()


def attack_with(address: str, data: bytes, server: int, idle: int) -> dict[str, Any]:
    """Statuses of the uploads; the slowest liveness probe and search by words meanwhile; memory above `idle`."""
    statuses: list[int] = []
    senders = [threading.Thread(target=lambda: statuses.append(ask_image(address, data))) for _ in range(UPLOADS)]
    begun = time.monotonic()
    for sender in senders:
        sender.start()
    most, live, text, failed = 0, 0.0, 0.0, 0
    last = 0.0
    while any(sender.is_alive() for sender in senders):
        most = max(most, memory_of(server) - idle)
        if time.monotonic() - last > 0.5:
            live = max(live, timed(lambda: httpx.get(f"{address}/health/live", timeout=60).raise_for_status()))
            started = time.monotonic()
            answer = httpx.post(f"{address}/v1/search/text", json={"text": "heart", "k": 1}, timeout=60)
            text, failed = max(text, time.monotonic() - started), failed + (answer.status_code != 200)
            last = time.monotonic()
        time.sleep(0.05)
    seconds = time.monotonic() - begun
    time.sleep(1)
    return {
        "bytes": len(data),
        "statuses": {str(status): statuses.count(status) for status in sorted(set(statuses))},
        "seconds": round(seconds, 1),
        "slowest_live_s": round(live, 2),
        "slowest_text_s": round(text, 2),
        "failed_texts": failed,
        "most_mb_above_idle": most,
        "mb_above_idle_after": memory_of(server) - idle,
    }


def ask_image(address: str, data: bytes) -> int:
    try:
        return httpx.post(f"{address}/v1/search/image", files={"image": ("a", data)}, timeout=90).status_code
    except httpx.HTTPError:
        return 0


def memory_of(process: int) -> int:
    """Megabytes of a process and its children, shared pages counted once."""
    children = Path(f"/proc/{process}/task/{process}/children").parent.parent
    found = [process]
    for task in children.iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return sum(megabytes_of(each, "smaps_rollup", "Pss") for each in found)


def megabytes_of(process: int, file: str, field: str) -> int:
    try:
        lines = Path(f"/proc/{process}/{file}").read_text().splitlines()
    except OSError:  # it has ended meanwhile
        return 0
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith(f"{field}:")), 0)


def many_scans(scans: int) -> bytes:
    """A progressive JPEG of 62 million pixels whose first scan of details stands there `scans` times."""
    data, position = encoded(Image.new("L", (7900, 7900), 128), "JPEG", progressive=True, quality=50), 2
    while True:
        marker, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        end = position + 2 + length
        if marker == 0xDA:
            while not (data[end] == 0xFF and data[end + 1] not in (0, *range(0xD0, 0xD8))):
                end += 1
            if data[position + 7]:
                return data[:position] + data[position:end] * scans + b"\xff\xd9"
        position = end


def film(mode: str) -> bytes:
    """64 million pixels in few bytes, with contrast."""
    grey = Image.linear_gradient("L").resize((8000, 8000))
    if mode == "I;16":
        return encoded(Image.fromarray(np.asarray(grey).astype(np.uint16) << 8), "PNG")
    image = grey.convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.radial_gradient("L").resize(grey.size))
    return encoded(image, "PNG")


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def timed(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    try:
        call()
    except ImageError as error:
        print(f"refused: {error}", file=sys.stderr)
    return time.perf_counter() - started


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.1)


if __name__ == "__main__":
    main()
