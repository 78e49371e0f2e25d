"""Cost of a model, measured on a real collection."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from evaluation.corpus import read_collection
from evaluation.resources import CALLS, measure_resources, parse_gpu_memory
from evaluation.results import Build
from retrieval.index.edge.index import EdgeIndex
from retrieval.model.bundle import ModelBundle
from retrieval.model.encoder import Encoder
from retrieval.search.retriever import Retriever


def measured(home: Path, build: Build | None = None):
    index = EdgeIndex(home / "index")
    bundle = ModelBundle.load(home / "models" / "tiny-a")
    retriever = Retriever(Encoder(bundle, device="cpu", threads=1), index.open("cxr_tiny-a"))
    corpus = read_collection(retriever.collection, view="frontal", vocabulary="chexpert")
    found = measure_resources(retriever, corpus, index, home / "media", build, threads=1)
    index.close()
    return found, bundle


def test_every_cost_is_measured_and_sizes_are_those_on_disk(tiny_home):
    folder = tiny_home / "index" / "cxr_tiny-a"
    hole_bytes = 1 << 30
    with (folder / "hole").open("wb") as file:
        file.truncate(hole_bytes)
    found, bundle = measured(tiny_home, Build(images=24, seconds=12.0))
    for times in (found.encode_image, found.encode_text, found.query, found.query_reranked, found.text_query):
        assert times.n == CALLS and 0 < times.p50_ms <= times.p95_ms
    assert found.bundle_bytes == sum(path.stat().st_size for path in bundle.folder.iterdir())
    # Edge reserves more than it fills: the size is that of `du`, not that of `ls`, and holes do not count.
    blocks = subprocess.run(
        ["find", folder, "-type", "f", "-printf", "%b\n"], capture_output=True, text=True, check=True
    )
    used = 512 * sum(map(int, blocks.stdout.split()))
    assert found.index_bytes == pytest.approx(used, rel=0.05)
    assert found.index_bytes < sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) - hole_bytes / 2
    assert found.peak_memory_bytes > 20_000_000
    assert (found.device, found.threads, found.gpu_memory_bytes) == ("cpu", 1, None)
    assert found.build.images_per_second == 2.0
    assert found.notes == []


def test_a_cost_that_could_not_be_measured_has_a_note(tiny_home):
    shutil.rmtree(tiny_home / "media")
    found, _ = measured(tiny_home)
    assert found.notes == [
        "encode image: on noise, 512 x 512, because there are no thumbnails",
        "build: not recorded",
    ]
    assert found.encode_image.p50_ms > 0


@pytest.mark.parametrize(
    ("output", "bytes_"),
    [("12, 300\n77, 1024\n77, 1\n", 1025 * 2**20), ("12, 300\n", None), ("77, [N/A]\n", None), ("", None)],
)
def test_gpu_memory_is_read_for_this_process_or_unknown(output, bytes_):
    assert parse_gpu_memory(output, 77) == bytes_
