"""Errors and interruptions end a run with its threads, and its memory is released."""

import gc

import pytest

from archives.indiana import IndianaSource
from ingest.run_mode import RunMode
from retrieval.errors import IndexFailure, SourceError
from tests.conftest import write_archive
from tests.ingest.worker_fixtures import NAME, CallOnProgress


def test_pixels_are_released_once_they_are_encoded(start, encoder, tmp_path):
    archive = write_archive(tmp_path / "large", 60)
    summary = start(batch_size=4).run(IndianaSource(**archive))
    gc.collect()
    assert encoder.alive == 0
    # Two batches ahead, one being encoded, one being handed over, and the one encoded last.
    assert summary.indexed == 105
    assert encoder.most_alive <= 5 * 4


class Broken(IndexFailure):
    pass


def test_an_error_in_writing_ends_the_run_with_that_error(start, index, archive, monkeypatch, no_thread_left):
    start().run(IndianaSource(**archive), RunMode(part=(1, 2)))

    def refuse(points):
        raise Broken("the disk is full")

    monkeypatch.setattr(index.open(NAME), "upsert", refuse)
    with pytest.raises(Broken, match="disk is full"):
        start().run(IndianaSource(**archive))


def test_an_error_in_the_source_ends_the_run_with_that_error(start, archive, no_thread_left):
    class Failing(IndianaSource):
        def __iter__(self):
            for number, record in enumerate(super().__iter__()):
                if number == 8:
                    raise SourceError("the share is gone")
                yield record

    with pytest.raises(SourceError, match="share is gone"):
        start().run(Failing(**archive))


def test_an_unforeseen_error_in_reading_ends_the_run_with_that_error(start, encoder, archive, no_thread_left):
    class Surprise(Exception):
        pass

    def fail(square):
        raise Surprise("not foreseen")

    encoder.preprocess.normalize = fail
    with pytest.raises(Surprise, match="not foreseen"):
        start().run(IndianaSource(**archive))


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_interruption_ends_the_run_and_its_threads(error, start, archive, no_thread_left):
    def interrupt(done, total):
        raise error

    with pytest.raises(error):
        start().run(IndianaSource(**archive), progress=CallOnProgress(interrupt))
