"""Measures whole HTTP requests: latency relative to a plain torch script, throughput, memory, overload.

    python -m benchmarks.serve --small-files ../shared/hf

The model has a published architecture and random weights; its collection holds the 6,677 payloads of the Indiana archive
(phantoms without it) and random vectors. `cxr serve` and the clients run in separate processes on the same cores.
"Encode-bound" is the rate at which the model alone, in another process, encodes the same texts in batches of the number of
clients. The service encodes every text again, except in the row `words_known`. Memory over 20,000 requests is measured with
a shipped demo model, which is fast.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.export import export_apart
from benchmarks.full_size_checkpoints import KEYS, write_full_size_checkpoint
from benchmarks.load_client import send
from benchmarks.result_file import write_result
from benchmarks.search import FILTERS, load, make_points, read_source, timed
from benchmarks.service_process import free_port, wait_until_ready
from retrieval.index.edge.index import EdgeIndex
from retrieval.index.interface import IndexPoint
from retrieval.index.schema import CollectionMeta, collection_name
from retrieval.model.bundle import find_bundle

CLIENTS = (1, 8, 32)
TEXTS = (
    "cardiomegaly with small bilateral pleural effusions",
    "right upper lobe consolidation, no pneumothorax",
    "calcified granuloma in the left lung",
    "no acute cardiopulmonary abnormality",
    "increased interstitial markings, may represent edema",
    "hyperinflated lungs with flattened diaphragms",
    "degenerative changes of the thoracic spine",
    "left basilar atelectasis without focal infiltrate",
)
BODIES = [{"text": text, "filters": FILTERS.to_dict(), "k": 10} for text in TEXTS]


def main() -> None:
    """Measure latency and throughput with the model, memory and overload with a small one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=KEYS, default="siglip", help="(default: %(default)s)")
    parser.add_argument("--small-files", type=Path, default=Path("../shared/hf"))
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="duration of each throughput run (default: %(default)s)"
    )
    parser.add_argument("--long-run", type=int, default=20_000, help="requests over which memory is measured")
    parser.add_argument("--work", type=Path, help="folder for checkpoint and bundle, kept and reused")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = arguments.work or Path(folder) / "work"
        home = Path(folder) / "home"
        checkpoint = work / "checkpoints" / arguments.model
        if not (work / "home" / "models" / arguments.model).exists():
            write_full_size_checkpoint(arguments.model, arguments.small_files, checkpoint)
            export_apart(arguments.model, checkpoint, work / "home")
        (home / "models").mkdir(parents=True)
        (home / "models" / arguments.model).symlink_to((work / "home" / "models" / arguments.model).resolve())
        points = fill(home, arguments.model, Path(folder))
        write_result(
            "serve",
            {
                "model": arguments.model,
                "points": len(points),
                "filters": FILTERS.to_dict(),
                "latency": latency(home),
                "words_known": words_known(home),
                "script_with_torch": script_latency(checkpoint, points, Path(folder)),
                "throughput": throughput(home, arguments.model, arguments.seconds),
                **long_run(Path(folder), arguments.long_run),
            },
        )


def fill(home: Path, model: str, folder: Path) -> list[IndexPoint]:
    """Make a collection of random vectors for the model and activate it; returns its points."""
    bundle = find_bundle(model, home / "models")
    dim = bundle.manifest.dim
    points = make_points(read_source(folder), dim)
    index = EdgeIndex(home / "index")
    meta = CollectionMeta(model=model, bundle_id=bundle.bundle_id, dim=dim, created_at="", complete=True)
    load(index, meta, points)
    index.activate(collection_name(model))
    index.close()
    return points


@contextmanager
def serving(home: Path, **settings: object) -> Iterator[tuple[int, int]]:
    """Port and process id of a `cxr serve` in a separate process."""
    environment = os.environ | {
        "CXR_HOME": str(home),
        "CXR_SERVICE_RATE_PER_MINUTE": "0",
        "CXR_SERVICE_REMEMBERED_TEXTS": "0",
        **{f"CXR_SERVICE_{name.upper()}": str(value) for name, value in settings.items()},
    }
    port = free_port()
    command = [sys.executable, "-m", "cxr", "serve", "--port", str(port)]
    with (home / "serve.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        wait_until_ready(process, port, home / "serve.log")
        yield port, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def latency(home: Path) -> dict[str, Any]:
    """Latency of one client's requests, in all and without encoding."""
    with serving(home) as (port, _):
        send(port, BODIES, clients=1, requests=20)
        answers = send(port, BODIES, clients=1, requests=300)
    rest = np.percentile(answers.without("encode"), [50, 95, 99])
    return answers.summary() | {
        "without_encode": {f"p{p}_ms": round(float(ms), 2) for p, ms in zip((50, 95, 99), rest, strict=True)},
        "stages_p50_ms": {
            name: round(float(np.median([stages[name] for stages in answers.stages_ms])), 2)
            for name in answers.stages_ms[0]
        },
    }


def words_known(home: Path) -> dict[str, Any]:
    """Latency of one client's requests with known texts, as when only filters change."""
    with serving(home, remembered_texts=len(TEXTS)) as (port, _):
        send(port, BODIES, clients=1, requests=20)
        return send(port, BODIES, clients=1, requests=300).summary()


def script_latency(checkpoint: Path, points: list[IndexPoint], folder: Path) -> dict[str, Any]:
    """Latency of the plain script: torch encodes the text, FAISS and Python search; no HTTP."""
    from benchmarks.baseline_ingest import BaselineIngest
    from benchmarks.baseline_search import BaselineSearch, frontal_without_pneumothorax, write_baseline_search
    from retrieval.labels import find_mentions

    model = BaselineIngest(checkpoint, threads=os.cpu_count() or 1)
    write_baseline_search(folder, points)
    script = BaselineSearch(folder)

    def ask(text: str) -> list[Any]:
        vector = model.encode_texts([text])[0]
        asked = find_mentions(text).asked
        return script.search(
            dict.fromkeys(("image", "findings", "impression"), vector),
            {"mesh": asked, "problems": asked},
            frontal_without_pneumothorax,
        )

    return timed([partial(ask, text) for _ in range(14) for text in TEXTS])


def throughput(home: Path, model: str, seconds: float) -> dict[str, Any]:
    """Requests per second with 1, 8 and 32 clients, relative to the encoder alone in batches of that size."""
    found: dict[str, Any] = {}
    with serving(home) as (port, _):
        for clients in CLIENTS:
            probe = send(port, BODIES, clients=clients, requests=8 * clients)
            requests = max(2 * clients, int(seconds * probe.summary()["requests_per_s"]))
            # The speed of the machine changes by several per cent within a minute, so the encoder runs before and after.
            before = encode_rate(home, model, clients)
            answers = send(port, BODIES, clients=clients, requests=requests).summary()
            alone = (before + encode_rate(home, model, clients)) / 2
            found[str(clients)] = answers | {
                "encode_bound_per_s": round(alone, 1),
                "over_encode_bound": round(answers["requests_per_s"] / alone, 3),
            }
    return found


_ENCODE = """
import sys, time
from pathlib import Path
from retrieval.model.bundle import ModelBundle
from retrieval.model.encoder import Encoder
from benchmarks.serve import TEXTS
encoder = Encoder(ModelBundle.load(Path(sys.argv[1])), device="cpu")
encoder.warm_up()
size = int(sys.argv[2])
batches = [[text] for text in TEXTS] if size == 1 else [[TEXTS[n % len(TEXTS)] for n in range(size)]]
done, start = 0, time.perf_counter()
while time.perf_counter() - start < 8:
    for batch in batches:
        encoder.encode_texts(batch)
        done += len(batch)
print(done / (time.perf_counter() - start))
"""


def encode_rate(home: Path, model: str, size: int) -> float:
    """Texts per second of the encoder alone, in a separate process, in batches of `size`."""
    command = [sys.executable, "-c", _ENCODE, str(home / "models" / model), str(size)]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def long_run(folder: Path, requests: int) -> dict[str, Any]:
    """Memory over many requests, and the answers to too many clients, with a demo model."""
    home = folder / "small"
    home.mkdir()
    fill(home, "phantom-siglip", folder)
    with serving(home) as (port, pid):
        send(port, BODIES, clients=8, requests=1000)
        sizes = [resident_mb(pid)]
        elapsed: list[dict[str, Any]] = []
        for _ in range(10):
            elapsed.append(send(port, BODIES, clients=8, requests=requests // 10).summary())
            sizes.append(resident_mb(pid))
        flood = send(port, BODIES, clients=150, requests=1500)
        after = send(port, BODIES, clients=1, requests=50).summary()
    return {
        "memory": {
            "model": "phantom-siglip",
            "requests": sum(part["requests"] for part in elapsed),
            "errors": sum(part["errors"] for part in elapsed),
            "resident_mb": sizes,
            "p99_ms": [part["p99_ms"] for part in elapsed],
            "requests_per_s": [part["requests_per_s"] for part in elapsed],
        },
        "overload": {
            "clients": 150,
            "statuses": {str(status): count for status, count in sorted(flood.statuses.items())},
            "with_retry_after": flood.retry_after,
            "afterwards": after,
        },
    }


def resident_mb(pid: int) -> float:
    """Resident memory of a process in MB, without mapped files."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("RssAnon:"):
            return round(int(line.split()[1]) / 1024, 1)
    raise RuntimeError("no RssAnon")


if __name__ == "__main__":
    main()
