"""`cxr push`: copy a collection to another index."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from cxr.options import (
    CollectionArgument,
    IndexOption,
    JsonOption,
    ReplicasOption,
    ShardsOption,
)
from cxr.progress import progress_bar
from cxr.transfer_options import CopyQuantizationOption, RecreateOption, load_options, opened_index, report_transfer
from ingest.transfer import push as push_collection
from retrieval.errors import InvalidRequest
from retrieval.index.interface import Index
from retrieval.index.schema import collection_name
from retrieval.index_address import server_urls


def push(
    model: CollectionArgument,
    to: Annotated[str, typer.Option("--to", help="URLs as for --index, or the folder of an embedded index.")],
    recreate: RecreateOption = False,
    shards: ShardsOption = 1,
    replicas: ReplicasOption = 1,
    quantization: CopyQuantizationOption = None,
    index: IndexOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy a collection to another index, such as a Qdrant server.

    After an interruption, or after a further ingest, run the command again: it sends only what the target lacks. Images
    that only the target holds are kept. At the end the command reads back the count, and the vectors and payloads of a
    sample, and compares them. CXR_INDEX_API_KEY, CXR_INDEX_CA_FILE, CXR_INDEX_TIMEOUT_S and CXR_INDEX_PATIENCE_S apply
    to the target, too.

    \b
    cxr push biomedclip --to https://qdrant.example:6333
    cxr push biomedclip --to https://qdrant.example:6333 --shards 4 --replicas 2 --quantization int8
    """
    options = load_options(quantization, shards=shards, replicas=replicas, recreate=recreate)
    with (
        opened_index(index) as source,
        _opened_target(to, source) as target,
        progress_bar(f"Pushing {model}") as progress,
    ):
        summary = push_collection(source.open(collection_name(model)), target, options, progress=progress)
    report_transfer(summary, as_json)


@contextmanager
def _opened_target(location: str, source: Index) -> Iterator[Index]:
    with opened_index(location) as target:
        if _places(target) & _places(source):
            raise InvalidRequest(f"--to is the source index itself, {source.location}; name another index")
        yield target


def _places(index: Index) -> set[str]:
    """The addresses of the nodes of a server index, or the folder of an embedded one."""
    if "://" in index.location:
        return set(server_urls(index.location))
    return {str(Path(index.location).resolve())}
