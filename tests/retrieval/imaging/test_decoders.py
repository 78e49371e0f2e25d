"""A decoding process that hangs, crashes or fills memory refuses its image, and affects nothing else."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrieval import errors
from retrieval.errors import DecoderCrashed, DecodeTimeout, ImageBomb, ImageError, SystemFailure, TruncatedImage
from retrieval.imaging.decode import decode_image
from retrieval.imaging.decoder_pool import DecoderPool, decoders
from retrieval.imaging.memory_budget import MemoryBudget
from retrieval.imaging.model_input import Preprocessing
from retrieval.imaging.preprocess import ImagePreprocessor
from tests.dicom_files import SYNTAXES, make_dicom
from tests.retrieval.imaging.test_complexity import HONEST

ROOT = Path(__file__).parents[3]
STRANGE = Path(__file__).with_name("strange_decoder.py")
STORED = np.arange(64 * 48, dtype=np.uint16).reshape(64, 48)
SQUARES = [
    Preprocessing(mode=mode, size=32, interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3)
    for mode in ("stretch", "shortest_side_crop", "pad_square", "longest_side_pad")
]


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


GRADIENT = png(Image.radial_gradient("L"))
FILES = {
    **HONEST,
    **{f"DICOM {syntax}": make_dicom(STORED, syntax=syntax) for syntax in SYNTAXES},
    **{mode: png(Image.radial_gradient("L").convert(mode)) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")},
    "I;16": png(Image.fromarray(STORED)),
}


@pytest.fixture
def strange() -> Iterator[Callable[..., DecoderPool]]:
    """Makes pools whose processes fail in a given way."""
    pools = []

    def make(how: str, **limits: float) -> DecoderPool:
        pools.append(DecoderPool(command=(sys.executable, str(STRANGE), how), **limits))  # type: ignore[arg-type]
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


@pytest.mark.parametrize("name", FILES)
def test_another_process_decodes_the_same_pixels(name: str) -> None:
    expected = decode_image(FILES[name])
    image = decoders.decode(FILES[name])
    assert (image.mode, image.info) == (expected.mode, expected.info)
    np.testing.assert_array_equal(image, expected)
    prepared = decoders.prepare(FILES[name], SQUARES, preview_size=20)
    assert prepared.notes == tuple(expected.info.get("notes", ()))
    for preprocessing in SQUARES:
        np.testing.assert_array_equal(
            prepared.squares[preprocessing], ImagePreprocessor(preprocessing).resize(expected)
        )
    expected.thumbnail((20, 20), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(prepared.small, expected)


def test_another_process_refuses_with_the_same_message() -> None:
    for content in (
        b"",
        b"hello",
        GRADIENT[:-500],
        make_dicom(STORED, Rows=65),
        make_dicom(),
        b"\xff\xd8\xff" + bytes(9),
    ):
        with pytest.raises(ImageError) as expected:
            decode_image(content, name="a.img")
        with pytest.raises(ImageError) as caught:
            decoders.decode(content, name="a.img")
        assert (type(caught.value), str(caught.value)) == (type(expected.value), str(expected.value))
    with pytest.raises(errors.BurnedIn):
        decoders.decode(make_dicom(STORED, BurnedInAnnotation="YES"))
    assert decoders.decode(make_dicom(STORED, BurnedInAnnotation="YES"), allow_burned_in=True).size == (48, 64)


def test_processes_are_reused_and_threads_get_one_each() -> None:
    pool = DecoderPool()
    for _ in range(3):
        pool.decode(GRADIENT)
        with pytest.raises(TruncatedImage):
            pool.decode(GRADIENT[:-500])
    assert len(pool._all) == 1
    with ThreadPoolExecutor(4) as threads:
        assert {image.size for image in threads.map(pool.decode, [GRADIENT] * 40)} == {(256, 256)}
    assert len(pool._all) <= 4
    pool.close()
    assert pool.decode(GRADIENT).size == (256, 256)
    pool.close()


@pytest.mark.parametrize(
    ("how", "error", "limits"),
    [
        ("sleep", DecodeTimeout, {"limit_wall_seconds": 0.5}),
        ("spin", DecodeTimeout, {"limit_seconds": 1}),
        ("spin", DecodeTimeout, {"limit_wall_seconds": 0.5}),
        ("crash", DecoderCrashed, {}),
        ("leave", DecoderCrashed, {}),
        ("swell", DecoderCrashed, {}),
        ("babble", DecoderCrashed, {}),
    ],
)
def test_a_process_that_hangs_crashes_or_fills_memory_refuses_its_image(
    strange: Callable[..., DecoderPool], how: str, error: type[ImageError], limits: dict[str, float]
) -> None:
    pool = strange(how, **limits)
    for _ in range(2):
        begun = time.monotonic()
        with pytest.raises(error, match=r"a\.png") as caught:
            pool.decode(GRADIENT, name="a.png")
        assert caught.value.http_status == 422
        assert time.monotonic() - begun < 30
    assert not pool._all


def test_a_process_that_does_not_start_is_a_system_failure(strange: Callable[..., DecoderPool]) -> None:
    with pytest.raises(SystemFailure, match="exit code 3"):
        strange("never ready").decode(GRADIENT)
    with pytest.raises(SystemFailure, match="No such file"):
        DecoderPool(command=("/nowhere",)).decode(GRADIENT)


def test_closing_the_pool_ends_busy_processes(strange: Callable[..., DecoderPool]) -> None:
    pool = strange("sleep")
    with ThreadPoolExecutor(3) as threads:
        asked = [threads.submit(pool.decode, GRADIENT) for _ in range(3)]
        until(lambda: len(pool._all) == 3)
        time.sleep(0.5)
        pool.close()
        for future in asked:
            assert isinstance(future.exception(timeout=20), (DecoderCrashed, SystemFailure))


HOLDER = """
import subprocess, sys, threading, time
from retrieval.imaging.decoder_pool import DecoderPool
pool = DecoderPool(command=(sys.executable, sys.argv[1], sys.argv[2]))
threading.Thread(target=pool.decode, args=(open(sys.argv[3], "rb").read(),), daemon=True).start()
while not (pool._all and all(process.was_ready for process in pool._all)):
    time.sleep(0.01)
time.sleep(0.3)
print(*(process._process.pid for process in pool._all), flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("how", ["sleep", "spin"])
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_process_outlives_its_parent(tmp_path: Path, how: str, sign: signal.Signals) -> None:
    (tmp_path / "a.png").write_bytes(GRADIENT)
    command = [sys.executable, "-c", HOLDER, str(STRANGE), how, str(tmp_path / "a.png")]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ
    ) as holder:
        assert holder.stdout
        (child,) = map(int, holder.stdout.readline().split())
        assert is_running(child)
        holder.send_signal(sign)
        holder.wait(20)
    until(lambda: not is_running(child))


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# Memory.


def test_the_budget_is_never_exceeded_and_every_caller_gets_memory() -> None:
    budget, held, most = MemoryBudget(100), 0, 0
    lock = threading.Lock()

    def use(size: int) -> None:
        nonlocal held, most
        with budget.hold(size):
            with lock:
                held += min(size, 100)
                most = max(most, held)
            time.sleep(0.001)
            with lock:
                held -= min(size, 100)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(use, [1, 60, 100, 30, 1_000, 7, 50, 50] * 10))
    assert most <= 100
    assert budget.held_bytes == 0


def test_a_large_image_is_not_starved_by_small_ones() -> None:
    budget, order = MemoryBudget(100), []

    def use(name: str, size: int) -> None:
        with budget.hold(size):
            order.append(name)

    with budget.hold(60):
        threads = [threading.Thread(target=use, args=each) for each in (("large", 100), ("small", 10))]
        for count, thread in enumerate(threads, start=1):
            thread.start()
            until(lambda count=count: len(budget._waiting) == count)
        assert order == []
    for thread in threads:
        thread.join()
    assert order == ["large", "small"]


class Cancelled(Exception):
    pass


def refuse_from(moment: float) -> None:
    if time.monotonic() > moment:
        raise Cancelled


def test_a_cancelled_caller_stops_waiting_for_memory() -> None:
    budget = MemoryBudget(100)
    with budget.hold(60):
        with pytest.raises(Cancelled), budget.hold(60, lambda: refuse_from(0)):
            pytest.fail("there was no memory")
        with budget.hold(40):
            pass
    assert budget.held_bytes == 0


@pytest.mark.parametrize("how", ["sleep", "spin"])
def test_cancellation_ends_the_process(strange: Callable[..., DecoderPool], how: str) -> None:
    pool = strange(how)
    moment = time.monotonic() + 1.5
    with pytest.raises(Cancelled):
        pool.prepare(GRADIENT, SQUARES, raise_if_cancelled=lambda: refuse_from(moment))
    assert not pool._all
    assert time.monotonic() < moment + 5


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "I;16", "P", "1"])
def test_an_image_waits_until_its_memory_is_free(mode: str) -> None:
    content = png(Image.linear_gradient("L").resize((900, 1000)).convert("L" if mode == "I;16" else mode).convert(mode))
    needs: list[int] = []
    decode_image(content, reserve=lambda width, height, channel, needed: needs.append(needed))
    assert len(needs) == 1
    assert needs[0] >= 900 * 1000
    pool = DecoderPool(limit_memory_bytes=needs[0])
    with ThreadPoolExecutor(1) as threads:
        with pool.budget.hold(1):
            waiting = threads.submit(pool.decode, content)
            until(lambda: len(pool.budget._waiting) == 1)
            assert not waiting.done()
        assert waiting.result(20).size == (900, 1000)
    assert pool.budget.held_bytes == 0
    pool.close()


def test_a_file_refused_by_its_header_reserves_no_memory() -> None:
    def refuse(*_: int) -> None:
        pytest.fail("memory was asked for")

    for content in (b"hello", make_dicom(STORED, Rows=60_000, Columns=60_000), make_dicom(STORED, NumberOfFrames=2)):
        with pytest.raises(ImageError):
            decode_image(content, reserve=refuse)
    with pytest.raises(ImageBomb):
        decode_image(png(Image.new("1", (8_001, 8_000))), reserve=refuse)
