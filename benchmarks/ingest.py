"""Measures a whole ingest: images per second relative to the bare sessions and to a plain script, and memory.

    python -m benchmarks.ingest --small-files ../shared/hf

The models have published architectures and random weights (`benchmarks.full_size_checkpoints`) and are exported by `cxr
export`. Each round runs in one process, with the same batch and threads:

- the bare image session of onnxruntime on prepared pixels, and its text session on the distinct report sections;
- the worker: read, decode, preprocess, thumbnails, both towers, labels, an Edge index, ledger, optimise, calibrate;
- for models that transformers loads, the plain script (`benchmarks.baseline_ingest`).

`over_bare` divides by the time of both bare sessions, `over_bare_images` by that of the image session only. `bound` is the
highest possible `over_bare` if the cores only encode and decode: the core time of the bare sessions over that of sessions
and reader. With one thread fewer than cores, one core is left for the reader. Memory is measured separately, with a shipped
model and `cxr ingest`: peak, and without mapped files.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from benchmarks.export import export_apart
from benchmarks.full_size_checkpoints import write_full_size_checkpoint
from benchmarks.ingest_memory import measure_memory
from benchmarks.measured_archives import INPUTS, Archive, write_archive
from benchmarks.result_file import write_result
from exporters.bundle_writer import write_manifest
from exporters.precision import convert_graphs
from ingest.thumbnails import write_thumbnail
from ingest.worker import Worker
from retrieval.imaging.decoder_pool import read_image
from retrieval.index.edge.index import EdgeIndex
from retrieval.model.bundle import IMAGE_GRAPH, TEXT_GRAPH, Manifest, ModelBundle
from retrieval.model.encoder import TEXT_BATCH, Encoder
from retrieval.records import Source, studies_of

# Model, precision, images, batch. Enough batches that the first, which no reading overlaps, matters little.
CASES = (
    ("pubmed_clip", "fp32", 256, 32),
    ("siglip", "fp32", 128, 32),
    ("medsiglip", "fp32", 8, 4),
    ("medsiglip", "int8", 16, 4),
)


def main() -> None:
    """Measure each model on each input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small-files", type=Path, default=Path("../shared/hf"))
    parser.add_argument("--keys", nargs="*", default=list(dict.fromkeys(key for key, *_ in CASES)))
    parser.add_argument("--inputs", nargs="*", choices=INPUTS, default=list(INPUTS))
    parser.add_argument(
        "--threads", nargs="*", type=int, default=[os.cpu_count() or 1], help="threads of the sessions, one run each"
    )
    parser.add_argument("--rounds", type=int, default=1, help="medsiglip runs once (default: %(default)s)")
    parser.add_argument(
        "--name", default="ingest", help="name of the file in benchmarks/results (default: %(default)s)"
    )
    parser.add_argument("--work", type=Path, help="folder for checkpoints and bundles, kept and reused")
    parser.add_argument("--no-script", action="store_true", help="skip the plain script")
    parser.add_argument("--no-memory", action="store_true", help="skip the memory figures")
    arguments = parser.parse_args()
    figures: list[dict[str, Any]] = []
    memory = None if arguments.no_memory else measure_memory()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        most = max(images for key, _, images, _ in CASES if key in arguments.keys)
        archives = {kind: write_archive(kind, root / kind, most) for kind in arguments.inputs}
        for key in arguments.keys:
            work = arguments.work or root
            checkpoint, fp32 = work / "checkpoints" / key, work / "home" / "models" / key
            if not fp32.is_dir():
                write_full_size_checkpoint(key, arguments.small_files, checkpoint)
                export_apart(key, checkpoint, work / "home")
            for case in [case for case in CASES if case[0] == key]:
                bundle = ModelBundle.load(fp32 if case[1] == "fp32" else converted(fp32, case[1]))
                for kind, archive in archives.items():
                    for threads in arguments.threads:
                        figures.append(measure(case, bundle, kind, archive, threads, checkpoint, arguments))
                        print(figures[-1], flush=True)
            # Written after each model, because the last one takes as long as all others.
            write_result(arguments.name, {"cases": figures, "memory": memory})


def converted(fp32: Path, precision: str) -> Path:
    """A copy of the bundle in another precision, without the gate, which random weights could not pass."""
    folder = fp32.with_name(f"{fp32.name}-{precision}")
    if folder.is_dir():
        return folder
    shutil.copytree(fp32, folder)
    manifest = ModelBundle.load(folder).manifest
    convert_graphs(folder, precision)  # type: ignore[arg-type]  # a precision of the exporter
    kept = {name: getattr(manifest, name) for name in Manifest.__struct_fields__ if name not in ("files", "format")}
    write_manifest(folder, kept | {"name": folder.name})
    return folder


def measure(
    case: tuple[str, str, int, int],
    bundle: ModelBundle,
    kind: str,
    archive: Archive,
    threads: int,
    checkpoint: Path,
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    """Medians over rounds of one model on one input; bare sessions, worker and script alternate."""
    key, precision, images, batch = case
    encoder = Encoder(bundle, device="cpu", threads=threads)
    encoder.warm_up()
    bare = Bare(encoder, first_images(archive, images), batch, threads)
    script = None
    if precision in ("fp32", "int8") and not arguments.no_script:
        from benchmarks.baseline_ingest import BaselineIngest

        script = BaselineIngest(checkpoint, threads)
    rows: list[dict[str, float]] = []
    for _ in range(1 if key == "medsiglip" else arguments.rounds):
        with tempfile.TemporaryDirectory() as folder:
            row = bare.run() | run_worker(encoder, archive, images, batch, Path(folder))
            if script:
                started = time.perf_counter()
                script.run(First(archive.open(Path(folder)), images), Path(folder), batch)
                row["script_s"] = time.perf_counter() - started
        rows.append(row)
    medians = {name: float(np.median([row[name] for row in rows])) for name in rows[0]}
    both = medians["images_s"] + medians["texts_s"]
    core_s = threads * both
    cores = os.cpu_count() or 1
    found = {
        "model": key,
        "precision": precision,
        "input": kind,
        "threads": threads,
        "images": images,
        "batch": batch,
        "distinct_texts": len(bare.texts),
        "bare_images_per_s": round(images / medians["images_s"], 2),
        "worker_images_per_s": round(images / medians["worker_s"], 2),
        "over_bare": round(both / medians["worker_s"], 3),
        "over_bare_images": round(medians["images_s"] / medians["worker_s"], 3),
        "bound": round(min(1.0, both * cores / (core_s + medians["reader_s"])), 3),
        "reader_ms_per_image": round(medians["reader_s"] / images * 1000, 1),
    }
    if script:
        found["script_images_per_s"] = round(images / medians["script_s"], 2)
        found["over_script"] = round(medians["script_s"] / medians["worker_s"], 2)
    return found


class First:
    """The first images of a source."""

    def __init__(self, source: Source, images: int) -> None:
        self.dataset = source.dataset
        self._source = source
        self._images = images

    def image_count(self) -> int:
        """The limit."""
        return self._images

    def __iter__(self) -> Any:
        left = self._images
        for study in studies_of(self._source):
            if left <= 0:
                return
            yield replace(study, images=study.images[:left])
            left -= len(study.images)


class Bare:
    """Plain onnxruntime sessions with prepared inputs."""

    def __init__(self, encoder: Encoder, source: Source, batch: int, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._image, self._text = (
            onnxruntime.InferenceSession(str(encoder.bundle.path(graph)), options, providers=["CPUExecutionProvider"])
            for graph in (IMAGE_GRAPH, TEXT_GRAPH)
        )
        studies = list(studies_of(source))
        paths = [image.path for study in studies for image in study.images]
        started = time.perf_counter()
        pixels = [read_as_worker(encoder, path) for path in paths]
        self.reader_s = time.perf_counter() - started
        self._batches = [np.stack(pixels[start : start + batch]) for start in range(0, len(pixels), batch)]
        sections = [text for study in studies for text in (study.report.findings, study.report.impression) if text]
        self.texts = list(dict.fromkeys(sections))
        self._tokens = [
            encoder.tokenizer(self.texts[start : start + TEXT_BATCH]) for start in range(0, len(self.texts), TEXT_BATCH)
        ]
        self._image.run(["image_embeds"], {"pixel_values": self._batches[0]})
        self._text.run(["text_embeds"], self._tokens[0])

    def run(self) -> dict[str, float]:
        """Seconds for all images, and for all texts."""
        started = time.perf_counter()
        for batch in self._batches:
            self._image.run(["image_embeds"], {"pixel_values": batch})
        between = time.perf_counter()
        for tokens in self._tokens:
            self._text.run(["text_embeds"], tokens)
        return {
            "images_s": between - started,
            "texts_s": time.perf_counter() - between,
            "reader_s": self.reader_s,
        }


def read_as_worker(encoder: Encoder, path: Path) -> NDArray[np.float32]:
    """The worker's steps for one file before the session, in one thread."""
    image, data = read_image(path)
    with tempfile.TemporaryDirectory() as media_dir:
        write_thumbnail(image, hashlib.sha256(data).hexdigest(), Path(media_dir))
    return encoder.preprocess(image)


def first_images(archive: Archive, images: int) -> Source:
    """The first `images` images of an archive."""
    with tempfile.TemporaryDirectory() as home:
        return First(archive.open(Path(home)), images)


def run_worker(encoder: Encoder, archive: Archive, images: int, batch: int, home: Path) -> dict[str, float]:
    """Seconds of a whole ingest into a new index, with the opening of the source."""
    index = EdgeIndex(home / "index")
    started = time.perf_counter()
    worker = Worker(encoder, index, home=home, media_dir=home / "media", batch_size=batch)
    summary = worker.run(First(archive.open(home), images))
    elapsed = time.perf_counter() - started
    index.close()
    assert summary.indexed == images, summary
    print(encoder.bundle.name, summary.stages_s, flush=True)
    return {"worker_s": elapsed}


if __name__ == "__main__":
    main()
