import threading
import time

import pytest

from ingest.concurrency import WriteBehind, map_in_order, read_ahead
from ingest.stage_clock import StageClock

WAIT_S = 10


class Failure(Exception):
    pass


def test_items_come_in_order(no_thread_left):
    assert list(read_ahead(range(100), 3)) == list(range(100))


def test_nothing_gives_nothing(no_thread_left):
    assert list(read_ahead([], 3)) == []


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_reading_is_never_more_than_the_depth_ahead(depth, no_thread_left):
    made = []
    reached = threading.Condition()

    def source():
        for number in range(20):
            with reached:
                made.append(number)
                reached.notify_all()
            yield number

    items = read_ahead(source(), depth)
    for taken in range(20):
        assert next(items) == taken
        # One item is produced before there is room for it, so there may be one more than the depth.
        with reached:
            wanted = min(20, taken + depth + 1)
            assert reached.wait_for(lambda wanted=wanted: len(made) >= wanted, WAIT_S)
        assert len(made) <= taken + depth + 2
    assert list(items) == []


def test_reading_goes_on_while_an_item_is_used(no_thread_left):
    second = threading.Event()

    def source():
        yield 1
        second.set()
        yield 2

    items = read_ahead(source(), 2)
    assert next(items) == 1
    assert second.wait(WAIT_S)
    assert list(items) == [2]


def test_an_error_of_the_source_is_raised_after_the_items_before_it(no_thread_left):
    def source():
        yield 1
        yield 2
        raise Failure("the share is gone")

    items = read_ahead(source(), 5)
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(Failure, match="share is gone"):
        next(items)


def test_closing_ends_a_reader_that_waits_for_room(no_thread_left):
    items = read_ahead(iter(int, 1), 2)  # endless zeros
    assert next(items) == 0
    items.close()


def test_a_reader_that_was_never_asked_starts_no_thread(no_thread_left):
    read_ahead(iter(int, 1), 2).close()


def test_everything_is_written_in_order_before_the_block_ends(no_thread_left):
    written = []
    with WriteBehind(written.append, 2) as writer:
        for number in range(50):
            writer.put(number)
    assert written == list(range(50))


def test_writing_happens_beside_the_caller_and_puts_wait_while_the_queue_is_full(no_thread_left):
    go, started, third = threading.Event(), threading.Event(), threading.Event()

    def write(_):
        started.set()
        assert go.wait(WAIT_S)

    with WriteBehind(write, 2) as writer:
        writer.put(1)
        writer.put(2)
        assert started.wait(WAIT_S)

        def put_third():
            writer.put(3)
            third.set()

        waiting = threading.Thread(target=put_third)
        waiting.start()
        assert not third.wait(0.05)
        go.set()
        assert third.wait(WAIT_S)
        waiting.join()


def failing(written, at):
    def write(item):
        if item == at:
            raise Failure(f"cannot write {item}")
        written.append(item)

    return write


def test_an_error_in_writing_is_raised_and_nothing_is_written_after_it(no_thread_left):
    written = []
    with pytest.raises(Failure, match="cannot write 3"), WriteBehind(failing(written, 3), 2) as writer:
        for number in range(1000):
            writer.put(number)
    assert written == [0, 1, 2]


def test_an_error_in_the_last_write_is_raised_by_the_end_of_the_block(no_thread_left):
    written = []
    with pytest.raises(Failure, match="cannot write 1"), WriteBehind(failing(written, 1), 5) as writer:
        writer.put(0)
        writer.put(1)
    assert written == [0]


def test_an_error_in_the_block_is_raised_and_waiting_items_are_dropped(no_thread_left):
    go, written = threading.Event(), []

    def write(item):
        assert go.wait(WAIT_S)
        written.append(item)

    with pytest.raises(KeyboardInterrupt), WriteBehind(write, 5) as writer:
        for number in range(4):
            writer.put(number)
        go.set()
        raise KeyboardInterrupt
    assert written == list(range(len(written)))


@pytest.mark.parametrize("threads", [1, 3])
def test_results_come_in_the_order_of_the_items_with_few_taken_ahead(no_thread_left, threads):
    taken = []

    def items():
        for number in range(20):
            taken.append(number)
            yield number

    def work(number):
        time.sleep(0.002 * (number % 3))
        return number * number

    found = []
    for result in map_in_order(work, items(), threads):
        found.append(result)
        assert len(taken) <= len(found) + threads
    assert found == [number * number for number in range(20)]


def test_several_threads_work_at_the_same_time(no_thread_left):
    together = threading.Barrier(3, timeout=WAIT_S)
    assert len(list(map_in_order(lambda _: together.wait(), range(6), 3))) == 6


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_of_the_work_comes_in_its_place_and_ends_the_work(no_thread_left, threads):
    done = []
    found = map_in_order(failing(done, 3), range(1000), threads)
    assert [next(found) for _ in range(3)] == [None] * 3
    with pytest.raises(Failure, match="cannot write 3"):
        next(found)
    assert len(done) <= 3 + threads


def test_the_clock_adds_up_threads_and_lists_the_longest_first():
    clock = StageClock()

    def stage():
        with clock("long"):
            time.sleep(0.03)

    threads = [threading.Thread(target=stage) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with pytest.raises(Failure), clock("short"):
        raise Failure
    seconds = clock.seconds()
    assert list(seconds) == ["long", "short"]
    assert seconds["long"] >= 0.09
