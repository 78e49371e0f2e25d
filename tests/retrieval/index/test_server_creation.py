"""The request that makes a collection on a server."""

import pytest

from retrieval.index.schema import DENSE_VECTORS, CollectionLayout, CollectionMeta
from retrieval.index.server.index import _creation


@pytest.mark.parametrize(("quantization", "placement"), [("int8", "cold"), ("none", "cached")])
def test_memory_placement_is_sent_beside_the_options_that_1_18_needs(quantization, placement):
    layout = CollectionLayout(quantization=quantization, shards=3, replicas=2)
    request = _creation(CollectionMeta(model="m", bundle_id="b", dim=8, created_at="", layout=layout))
    for name in DENSE_VECTORS:
        vector = request["vectors"][name]
        assert (vector["on_disk"], vector["memory"], vector["datatype"]) == (True, placement, "float16")
    assert (request["on_disk_payload"], request["payload"]) == (True, {"memory": "cached"})
    assert (request["shard_number"], request["replication_factor"]) == (3, 2)
    if quantization == "int8":
        scalar = request["quantization_config"]["scalar"]
        assert (scalar["always_ram"], scalar["memory"]) == (True, "pinned")
    else:
        assert "quantization_config" not in request
