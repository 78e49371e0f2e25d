"""Cost of a model: milliseconds of encoding and searching, bytes of index, bundle and memory."""

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
from evaluation.process_memory import peak_memory_bytes
from evaluation.results import Build, Resources, Times
from ingest.thumbnails import thumbnail_path
from retrieval.index.interface import Index
from retrieval.search.query import Case, Query
from retrieval.search.retriever import Retriever

CALLS = 30
"""Timed calls of each kind, after some calls to warm up."""
_WARM_UP_CALLS = 3
# A model that needs seconds per image gets fewer calls.
_BUDGET_S = 20.0
_MINIMUM_CALLS = 5


def measure_resources(
    retriever: Retriever, corpus: Corpus, index: Index, media_dir: Path, build: Build | None, threads: int = 0
) -> Resources:
    """The cost, from single calls on texts, images and studies of the corpus; `threads` per session (0: one per core)."""
    encoder, notes = retriever.encoder, []
    encoder.warm_up()
    chosen = [corpus.images[n] for n in np.linspace(0, len(corpus.images) - 1, CALLS + _WARM_UP_CALLS).astype(int)]
    thumbnails = [found for image in chosen if (found := _thumbnail(media_dir, image.sha256))]
    if not thumbnails:
        notes.append("encode image: on noise, 512 x 512, because there are no thumbnails")
        rng = np.random.default_rng(0)
        thumbnails = [Image.fromarray(rng.integers(0, 255, (512, 512), dtype=np.uint8)) for _ in range(4)]
    texts = [image.report for image in chosen if image.report] if encoder.bundle.has_text else []
    cases = [Case(study_id=image.study.removeprefix(f"{image.dataset}/"), dataset=image.dataset) for image in chosen]
    encode_text = text_query = None
    if texts:
        encode_text = _timed(texts, lambda text: encoder.encode_texts([text]))
        text_query = _timed(
            texts, lambda text: retriever.search(Query(text=text[:400], rerank="none", interpret=False))
        )
    elif encoder.bundle.has_text:
        notes.append("encode text: not measured, because there are no reports")
    index_bytes = index.disk_bytes(retriever.collection.name)
    if index_bytes is None:
        notes.append("index size: unknown, because the collection is on a server")
    if build is None:
        notes.append("build: not recorded")
    device = encoder.image_session.device
    return Resources(
        device=device,
        threads=threads or os.cpu_count() or 1,
        encode_image=_timed(thumbnails, lambda image: encoder.encode_images([image])),
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
    """The GPU memory of process `pid`, from nvidia-smi; None if it is not available."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    command = [tool, "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_gpu_memory(output, pid)


def parse_gpu_memory(output: str, pid: int) -> int | None:
    """Bytes of process `pid` in lines of `pid, mebibytes`; None if it is not listed, as in a container."""
    rows = [[cell.strip() for cell in line.split(",")] for line in output.splitlines()]
    sizes = [int(row[1]) for row in rows if len(row) == 2 and row[0] == str(pid) and row[1].isdigit()]
    return sum(sizes) * 2**20 if sizes else None


def _timed(items: Sequence[Any], call: Callable[[Any], object]) -> Times:
    for item in items[:_WARM_UP_CALLS]:
        call(item)
    elapsed: list[float] = []
    began = time.perf_counter()
    while len(elapsed) < CALLS:
        if len(elapsed) >= _MINIMUM_CALLS and time.perf_counter() - began > _BUDGET_S:
            break
        item = items[(_WARM_UP_CALLS + len(elapsed)) % len(items)]
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
