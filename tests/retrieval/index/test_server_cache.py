"""A server index asks for the alias and the record of a collection at most once a second."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from retrieval.errors import IndexUnreachable, NoCollection
from retrieval.index.schema import Scale
from retrieval.index.server.cache import AnswerCache
from retrieval.index.server.client import connect
from retrieval.index.server.index import ServerIndex
from tests.congruence.conftest import META, NAME
from tests.recovery.qdrant_stand_in import QdrantStandIn


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self):
        self.now = 100.0
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def server():
    with QdrantStandIn() as started:
        yield started


@pytest.fixture
def index(server, clock):
    opened = connected(server, clock)
    opened.create(META, name=NAME)
    opened.create(META, name="cxr_other")
    opened.activate(NAME)
    server.calls.clear()
    yield opened
    opened.close()


@pytest.fixture
def other(server, clock):
    """The same server, as another process sees it."""
    opened = connected(server, clock)
    yield opened
    opened.close()


def connected(server, clock):
    client = connect(server.url, api_key=None, timeout_s=30, ca_file=None, patience_s=0)
    return ServerIndex(client, server.url, clock=clock)


def test_many_searches_ask_for_alias_and_record_once_a_second(index, server, clock):
    for second in (1, 2):
        for _ in range(50):
            assert index.active() == NAME
            assert index.open(NAME).meta.bundle_id == META.bundle_id
        assert Counter(server.calls) == dict.fromkeys(("GET aliases", "GET exists", "GET collection"), second)
        clock.now += 1


def test_a_switch_by_another_process_is_noticed_after_a_second(index, other, clock):
    assert index.active() == NAME
    other.activate("cxr_other")
    clock.now += 0.9
    assert index.active() == NAME
    clock.now += 0.1
    assert index.active() == "cxr_other"


def test_own_changes_are_seen_at_once(index):
    assert index.active() == NAME
    index.activate("cxr_other")
    assert index.active() == "cxr_other"
    held, again = index.open(NAME), index.open(NAME)
    calibrated = msgspec.structs.replace(META, calibration={"image/image": Scale(0.1, 0.9)})
    held.record(calibrated)
    assert again.meta != calibrated
    assert index.open(NAME).meta == calibrated
    index.drop(NAME)
    with pytest.raises(NoCollection):
        index.open(NAME)
    index.create(META, name=NAME)
    assert index.open(NAME).meta == META


def test_a_missing_collection_is_looked_up_again_at_each_call(index, other):
    with pytest.raises(NoCollection):
        index.open("cxr_new")
    other.create(META, name="cxr_new")
    assert index.open("cxr_new").name == "cxr_new"


def test_the_way_back_is_read_at_each_call(index, other):
    assert (index.active(), index.previous()) == (NAME, None)
    other.activate("cxr_other")
    assert index.previous() == NAME


def test_threads_that_need_the_same_answer_send_one_request(clock):
    cache, asked, released = AnswerCache(clock), [], threading.Event()

    def ask():
        asked.append(1)
        assert released.wait(10)
        return "answer"

    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(cache.get, "alias", ask) for _ in range(8)]
        while clock.calls < len(answers):
            time.sleep(0.001)
        released.set()
        assert [answer.result(10) for answer in answers] == ["answer"] * 8
    assert len(asked) == 1


def test_an_error_reaches_every_waiting_thread_and_is_not_kept(clock):
    cache, asking, released = AnswerCache(clock), threading.Event(), threading.Event()

    def fail():
        asking.set()
        assert released.wait(10)
        raise IndexUnreachable("the server does not answer")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.get, "alias", fail)
        assert asking.wait(10)
        second = pool.submit(cache.get, "alias", fail)
        while clock.calls < 2:
            time.sleep(0.001)
        released.set()
        for answer in (first, second):
            with pytest.raises(IndexUnreachable):
                answer.result(10)
    assert cache.get("alias", lambda: "answer") == "answer"


def test_an_answer_from_before_a_change_is_not_used_after_it(clock):
    cache, asking, released = AnswerCache(clock), threading.Event(), threading.Event()

    def ask_old():
        asking.set()
        assert released.wait(10)
        return "old"

    with ThreadPoolExecutor(1) as pool:
        old = pool.submit(cache.get, "alias", ask_old)
        assert asking.wait(10)
        cache.clear()
        assert cache.get("alias", lambda: "new") == "new"
        released.set()
        assert old.result(10) == "old"
    assert cache.get("alias", lambda: "newer") == "new"
