"""What Windows and macOS use instead of lifelines and `poll` works; it is run here on every system."""

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

# Starts a decoding process that takes its questions from the test, so that only its parent's end can end it.
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
    made = DecoderPool(limit_wall_seconds=2)
    yield made
    made.close()


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


def test_a_process_that_does_not_answer_in_time_is_ended(pool):
    pool.decode(png(GRADIENT))
    (process,) = (psutil.Process(decoder._process.pid) for decoder in pool._all)
    process.suspend()
    with pytest.raises(DecodeTimeout):
        pool.decode(png(GRADIENT))
    assert not process.is_running()


def test_a_decoding_process_ends_with_its_parent():
    questions, writing = os.pipe()
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=questions, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
        parent.kill()
    deadline = time.monotonic() + 20
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.close(writing)
    os.close(questions)
