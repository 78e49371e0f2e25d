"""Words, fused lists and examples: the embedded engine and a server give the same scores."""

import numpy as np
import pytest

from retrieval.index.search_request import SearchRequest
from tests.congruence.test_lists import FINDINGS, IMAGE, LIKED, WORDS


@pytest.mark.parametrize(
    "request_",
    [
        SearchRequest(lists=(IMAGE, FINDINGS), limit=10, candidates=40),
        SearchRequest(signals=(LIKED, FINDINGS), limit=10, candidates=40),
    ],
    ids=["fusion", "examples"],
)
def test_engines_agree_on_fusion_and_examples(both, request_):
    assert_same_scores(both, request_)


@pytest.mark.parametrize(
    "request_",
    [
        SearchRequest(lists=(WORDS,), limit=20),
        SearchRequest(lists=(IMAGE, FINDINGS, WORDS), limit=10, candidates=40),
    ],
    ids=["words", "fusion"],
)
def test_engines_agree_on_words(both, request_):
    if both["server"].meta.layout.shards > 1:
        pytest.skip("a server weighs words by their frequency in each shard")
    assert_same_scores(both, request_)


def assert_same_scores(both, request):
    scores = [[hit.score for hit in collection.search(request)] for collection in both.values()]
    np.testing.assert_allclose(scores[1], scores[0], rtol=2e-2, atol=5e-3)
