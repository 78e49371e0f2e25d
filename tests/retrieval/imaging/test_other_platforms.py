"""The replacements for Linux lifelines and `poll` on Windows and macOS; these tests run on every system."""

import io
import os
import subprocess
import sys
import time

import psutil
import pytest
from PIL import Image

from retrieval.errors import DecodeTimeout, UnreadableImage
from retrieval.imaging import decoder_client
from retrieval.imaging.decoder_pool import DecoderPool
from retrieval.imaging.pipe_reader import ThreadedReader

# Starts a decoder whose stdin comes from the test, so that it ends only because its parent ends.
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-m", "retrieval.imaging.decoder_process"], stdout=subprocess.PIPE)
child.stdout.read(1)
print(child.pid, flush=True)
time.sleep(60)
"""

GRADIENT = Image.radial_gradient("L")


@pytest.fixture
def pool(monkeypatch):
    monkeypatch.setattr(decoder_client, "_start", decoder_client._start_watching)
    monkeypatch.setattr(decoder_client, "open_reader", ThreadedReader)
    pool = DecoderPool(limit_wall_seconds=2)
    yield pool
    pool.close()


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def test_images_are_decoded_one_after_the_other(pool):
    for side in (40, 2000, 3):
        image = Image.effect_noise((side, side), 60)
        assert pool.decode(png(image)).tobytes() == image.tobytes()
    with pytest.raises(UnreadableImage):
        pool.decode(b"no image")
    assert pool.decode(png(GRADIENT)).tobytes() == GRADIENT.tobytes()


def test_a_decoder_that_exceeds_the_time_limit_is_killed(pool):
    pool.decode(png(GRADIENT))
    (process,) = (psutil.Process(decoder._process.pid) for decoder in pool._all)
    process.suspend()
    with pytest.raises(DecodeTimeout):
        pool.decode(png(GRADIENT))
    assert not process.is_running()


def test_a_decoder_ends_with_its_parent():
    requests, writing = os.pipe()
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=requests, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
        parent.kill()
    deadline = time.monotonic() + 20
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.close(writing)
    os.close(requests)
