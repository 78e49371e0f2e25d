"""The requests that searches send to a server: two or three each, and none of them about the collection within a second."""

from collections import Counter

import msgspec
import pytest

from archives.indiana import IndianaSource
from ingest.worker import Worker
from retrieval.index.schema import collection_name
from retrieval.index.server.index import ServerIndex
from retrieval.search.query import Case, Query
from retrieval.search.retriever import Retriever


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def index(server, clock, connect):
    return ServerIndex(connect(server)._client._client, server.url, clock=clock)


@pytest.fixture
def studies(server, index, encoder, archive):
    Worker(encoder, index).run(IndianaSource(**archive))
    name = collection_name(encoder.bundle.name)
    index.activate(name)
    return sorted({stored.payload["study_id"] for stored in index.open(name).scroll(limit=None)})


def search(index, encoder, query):
    """A search as the service sends it: it looks up the active collection each time."""
    with Retriever(encoder, index.open(index.active())) as retriever:
        return retriever.search(query)


QUERIES = {
    "text": (Query(text="heart"), 2),
    "text without reranking": (Query(text="heart", rerank="none"), 2),
    "text with denials": (Query(text="heart, no pneumothorax"), 2),
    "hybrid": (Query(text="heart", match="hybrid"), 2),
    "words": (Query(text="heart", match="bm25", rerank="none"), 2),
    "diversity and collapse": (Query(text="heart", diversity=0.3, collapse="study"), 2),
    "study": (Query(study=Case(study_id="first")), 3),
    "study and text": (Query(study=Case(study_id="first"), text="heart", match="hybrid"), 3),
}


@pytest.mark.parametrize(("query", "most"), QUERIES.values(), ids=QUERIES)
def test_a_search_takes_at_most_three_requests(query, most, server, index, encoder, studies, clock):
    if query.study:
        query = msgspec.structs.replace(query, study=Case(study_id=studies[0]))
    search(index, encoder, query)
    server.calls.clear()
    for _ in range(5):
        assert search(index, encoder, query).hits
    assert len(server.calls) <= 5 * most
    assert set(server.calls) <= {"POST points/scroll", "POST points/query/batch", "POST points"}
    clock.now += 1
    server.calls.clear()
    search(index, encoder, query)
    about = Counter(server.calls) - Counter({"POST points/scroll": 1, "POST points/query/batch": 2, "POST points": 1})
    assert about == Counter(("GET aliases", "GET exists", "GET collection"))
