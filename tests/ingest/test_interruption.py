"""Ctrl-C ends an ingest after the current batch; a second Ctrl-C ends it at once, during decoding and encoding."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# The slow step stands for a large model or a hostile file. It prints a line when it begins.
SLOW = {
    "decoding": """
from retrieval.imaging import decoder_pool as decoders
pool = decoders.decoders
pool._command, pool.limit_wall_seconds = (sys.executable, STRANGE, "sleep"), 60
request = decoders.DecoderClient.request
decoders.DecoderClient.request = lambda self, *rest: print("begun", flush=True) or request(self, *rest)
""",
    "encoding": """
from retrieval.model.encoder import Encoder
encode = Encoder.encode_pixels
def encode_slowly(self, pixels):
    if len(pixels) > 1:
        print("begun", flush=True)
        time.sleep(SECONDS)
    return encode(self, pixels)
Encoder.encode_pixels = encode_slowly
""",
}


@contextmanager
def ingesting(tiny_home: Path, dataset: str, what: str = "", seconds: float = 0) -> Iterator[subprocess.Popen[str]]:
    """An ingest of the archive of `tiny_home` into a new dataset, in batches of four, with a slow step `what`."""
    strange = ROOT / "tests" / "retrieval" / "imaging" / "strange_decoder.py"
    code = f"import sys, time\nSTRANGE, SECONDS = {str(strange)!r}, {seconds}\n{SLOW.get(what, '')}\nfrom cxr.main import main\nmain()"
    archive = tiny_home / "archive"
    options = ["--reports-csv", archive / "reports.csv", "--projections-csv", archive / "projections.csv"]
    command = [
        "ingest",
        "--model",
        "tiny-a",
        "--dataset",
        dataset,
        "--images-dir",
        archive / "images",
        "--batch-size",
        4,
    ]
    with subprocess.Popen(
        [sys.executable, "-c", code, *map(str, [*command, *options])],
        cwd=ROOT,
        env=os.environ | {"CXR_HOME": str(tiny_home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A test run in the background ignores SIGINT, and child processes inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as run:
        try:
            yield run
        finally:
            run.kill()


def interrupt(run: subprocess.Popen[str]) -> float:
    """Press Ctrl-C when the slow step has begun; gives the time."""
    assert run.stdout
    assert run.stdout.readline() == "begun\n", run.stderr and run.stderr.read()
    run.send_signal(signal.SIGINT)
    return time.monotonic()


def test_the_first_ends_the_run_after_the_batch_and_the_same_command_completes_it(tiny_home: Path) -> None:
    with ingesting(tiny_home, "indiana-again", "encoding", seconds=1.0) as run:
        interrupt(run)
        _, said = run.communicate(timeout=60)
    assert run.returncode == 130, said
    assert "stopping after this batch" in said
    assert "run the same command again to continue" in said
    assert "Traceback" not in said
    with ingesting(tiny_home, "indiana-again") as run:
        _, said = run.communicate(timeout=60)
    assert run.returncode == 0, said
    assert "0 quarantined" in said


@pytest.mark.parametrize("what", SLOW)
def test_the_second_ends_it_at_once_and_the_same_command_completes_it(tiny_home: Path, what: str) -> None:
    with ingesting(tiny_home, "indiana-again", what, seconds=60) as run:
        interrupt(run)
        assert run.stderr
        while "stopping after this batch" not in run.stderr.readline():  # else both signals could arrive as one
            assert run.poll() is None
        # Python notices a signal that arrives inside the handler of the first only after the lock it then waits for.
        time.sleep(0.5)
        run.send_signal(signal.SIGINT)
        pressed = time.monotonic()
        run.wait(timeout=30)
        assert time.monotonic() - pressed < 10
        assert run.returncode == 130
    with ingesting(tiny_home, "indiana-again") as run:
        _, said = run.communicate(timeout=60)
    assert run.returncode == 0, said
    assert "24 indexed" in said
