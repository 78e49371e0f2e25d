"""What a model costs: milliseconds of encoding and searching, bytes of index, bundle and memory."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from evaluation.corpus import Corpus
from evaluation.results import Build, Resources, Times
from ingest.thumbnails import thumbnail_path
from retrieval.index.interface import Index
from retrieval.process_memory import peak_memory_bytes
from retrieval.search.query import Case, Query
from retrieval.search.retriever import Retriever

CALLS = 30
"""Calls that are timed of each kind, after some that are not."""
_UNTIMED = 3
# Of a model that takes seconds an image, a few calls must do.
_BUDGET_S = 20.0
_FEWEST = 5


def measure_resources(
    retriever: Retriever, corpus: Corpus, index: Index, media_dir: Path, build: Build | None, threads: int = 0
) -> Resources:
    """Time single calls on texts, images and cases of the corpus; `threads` are those of a session (0: one per core)."""
    encoder, notes = retriever.encoder, []
    encoder.warm_up()
    chosen = [corpus.images[n] for n in np.linspace(0, len(corpus.images) - 1, CALLS + _UNTIMED).astype(int)]
    pictures = [picture for image in chosen if (picture := _thumbnail(media_dir, image.sha256))]
    if not pictures:
        notes.append("encode image: of drawn noise, 512 x 512, as there are no thumbnails")
        rng = np.random.default_rng(0)
        pictures = [Image.fromarray(rng.integers(0, 255, (512, 512), dtype=np.uint8)) for _ in range(4)]
    texts = [image.report for image in chosen if image.report] if encoder.bundle.has_text else []
    cases = [Case(study_id=image.study.removeprefix(f"{image.dataset}/"), dataset=image.dataset) for image in chosen]
    encode_text = text_query = None
    if texts:
        encode_text = _timed(texts, lambda text: encoder.encode_texts([text]))
        text_query = _timed(
            texts, lambda text: retriever.search(Query(text=text[:400], rerank="none", interpret=False))
        )
    elif encoder.bundle.has_text:
        notes.append("encode text: not measured, as there are no reports")
    index_bytes = index.disk_bytes(retriever.collection.name)
    if index_bytes is None:
        notes.append("index size: not known of a collection on a server")
    if build is None:
        notes.append("build: not recorded")
    device = encoder.image_session.device
    return Resources(
        device=device,
        threads=threads or os.cpu_count() or 1,
        encode_image=_timed(pictures, lambda picture: encoder.encode_images([picture])),
        encode_text=encode_text,
        query=_timed(cases, lambda case: retriever.search(Query(study=case, rerank="none"))),
        query_reranked=_timed(cases, lambda case: retriever.search(Query(study=case))),
        text_query=text_query,
        index_bytes=index_bytes,
        bundle_bytes=encoder.bundle.size_bytes,
        peak_memory_bytes=peak_memory_bytes(),
        gpu_memory_bytes=gpu_memory_bytes(os.getpid()) if device == "cuda" else None,
        build=build,
        notes=notes,
    )


def gpu_memory_bytes(pid: int) -> int | None:
    """The GPU memory that process `pid` holds now, as the driver's tool tells; None where it does not."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    asked = [tool, "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_gpu_memory(told, pid)


def parse_gpu_memory(told: str, pid: int) -> int | None:
    """Bytes of process `pid` in lines of `pid, mebibytes`; None where it is not listed, as in a container."""
    rows = [[cell.strip() for cell in line.split(",")] for line in told.splitlines()]
    held = [int(row[1]) for row in rows if len(row) == 2 and row[0] == str(pid) and row[1].isdigit()]
    return sum(held) * 2**20 if held else None


def _timed(items: Sequence[Any], call: Callable[[Any], object]) -> Times:
    for item in items[:_UNTIMED]:
        call(item)
    elapsed: list[float] = []
    began = time.perf_counter()
    while len(elapsed) < CALLS:
        if len(elapsed) >= _FEWEST and time.perf_counter() - began > _BUDGET_S:
            break
        item = items[(_UNTIMED + len(elapsed)) % len(items)]
        start = time.perf_counter()
        call(item)
        elapsed.append((time.perf_counter() - start) * 1000)
    p50, p95 = np.percentile(elapsed, [50, 95])
    return Times(p50_ms=round(float(p50), 3), p95_ms=round(float(p95), 3), n=len(elapsed))


def _thumbnail(media_dir: Path, sha256: str) -> Image.Image | None:
    path = thumbnail_path(media_dir, sha256)
    if not path.exists():
        return None
    with Image.open(path) as image:
        return image.convert("RGB")
