"""Reading pipes with a time limit; the reader for Windows is tested on every system."""

import os
import subprocess
import sys
import threading

import pytest

from retrieval.imaging.pipe_reader import PipeReader, ThreadedReader, open_reader


@pytest.fixture(params=[ThreadedReader, open_reader])
def pipe(request):
    reading, writing = os.pipe()
    reader = request.param(reading)
    yield reader, writing
    with pytest.raises(OSError, match="Bad file descriptor"):  # each test has closed it
        os.close(writing)
    reader.close()
    os.close(reading)


def read(reader: PipeReader, count: int) -> bytes:
    content = bytearray(count)
    done = 0
    while done < count and (found := reader.read_into(memoryview(content)[done:], 10)):
        done += found
    return bytes(content[:done])


def test_bytes_arrive_in_order_and_the_end_differs_from_a_timeout(pipe):
    reader, writing = pipe
    assert reader.read_into(memoryview(bytearray(5)), 0.01) is None
    os.write(writing, b"first second")
    assert read(reader, 6) == b"first "
    assert read(reader, 6) == b"second"
    assert reader.read_into(memoryview(bytearray(5)), 0.01) is None
    os.close(writing)
    assert reader.read_into(memoryview(bytearray(5)), 10) == 0
    assert reader.read_into(memoryview(bytearray(5)), 10) == 0


def test_more_bytes_than_the_queue_can_hold_arrive_complete(pipe):
    reader, writing = pipe
    sent = os.urandom(12_000_000)

    def write() -> None:
        with os.fdopen(writing, "wb") as file:
            file.write(sent)

    thread = threading.Thread(target=write)
    thread.start()
    assert read(reader, len(sent)) == sent
    thread.join()


def test_closing_ends_the_thread_even_with_unread_bytes():
    source = "import sys; sys.stdout.buffer.write(bytes(20_000_000))"
    process = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE)
    assert process.stdout is not None
    before = threading.active_count()
    reader = ThreadedReader(process.stdout.fileno())
    assert read(reader, 10) == bytes(10)
    process.kill()
    process.wait()
    reader.close()
    process.stdout.close()
    assert threading.active_count() == before
