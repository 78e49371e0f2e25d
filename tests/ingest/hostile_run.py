"""Ingest a folder of images and a tree of DICOM files in a separate process, and print the result.

`python -m tests.ingest.hostile_run HOME PICTURES TREE` prints one JSON document.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from archives.dicom.folder import DicomFolderSource
from archives.dicom.pseudonyms import load_salt
from archives.image_folder import ImageFolderSource
from ingest.worker import Worker
from retrieval.index.edge.index import EdgeIndex
from retrieval.index.filters import Filters
from retrieval.model.encoder import Encoder
from retrieval.records import Source
from tests.conftest import write_tiny_bundle
from tests.forked_decoders import forked_decoders


def main(home: Path, pictures: Path, tree: Path) -> None:
    encoder = Encoder(write_tiny_bundle(home / "models", "tiny", seed=0), device="cpu", threads=1)
    index = EdgeIndex(home / "index")
    sources: list[Source] = [
        ImageFolderSource(pictures, dataset="pictures"),
        DicomFolderSource(tree, dataset="dicom", salt=load_salt(home)),
    ]
    document: dict[str, object] = {}
    for source in sources:
        worker = Worker(encoder, index, media_dir=home / "media", read_threads=4, batch_size=8)
        summary = worker.run(source)
        collection = index.open("cxr_tiny")
        document[source.dataset] = {
            "indexed": summary.indexed,
            "points": collection.count(Filters(dataset=source.dataset)),
            "quarantined": {item.file: [item.code, item.detail] for item in summary.quarantined},
        }
    index.close()
    document["peak_bytes"] = peak_bytes()
    print(json.dumps(document))


def peak_bytes() -> int:
    """Peak resident memory. The figure of getrusage would include the memory of the parent at the fork."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024


if __name__ == "__main__":
    with forked_decoders():
        main(*map(Path, sys.argv[1:]))
