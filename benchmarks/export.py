"""Measures images and texts per second of each model in torch and in each precision, relative to the arithmetic limit.

    python -m benchmarks.export --small-files ../shared/hf

Each model is built at its published size with random weights (`benchmarks.full_size_checkpoints`) and exported by `cxr
export`; time and peak memory are recorded. Its precisions alternate with the torch model: same batch, threads and process.
The limit is the time of the tower's multiplications at the rate of this machine's best float32 product in torch.

fp16 is for GPUs. A CPU has no half-precision kernels for most operators and converts back and forth, so fp16 is skipped
unless `--device cuda` or `--precisions` requests it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.encode import read_images
from benchmarks.full_size_checkpoints import KEYS, write_full_size_checkpoint
from benchmarks.result_file import write_result
from exporters.checkpoints.checkpoint import Checkpoint
from exporters.checkpoints.load import load_checkpoint
from exporters.precision import convert_graphs
from retrieval.imaging.preprocess import ImagePreprocessor
from retrieval.model.bundle import IMAGE_GRAPH, TEXT_GRAPH, TOKENIZER, ModelBundle
from retrieval.model.session import OrtSession
from retrieval.model.tokenize import TextTokenizer

REPORT = (
    "The cardiac silhouette and mediastinum size are within normal limits. There is no pulmonary edema. There is no focal "
    "consolidation. There are no {} of a pleural effusion. There is no evidence of pneumothorax. Normal chest x-{}."
)
QUERY = "cardiomegaly with pleural effusion"


def main() -> None:
    """Measure each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", nargs="*", choices=KEYS, default=list(KEYS))
    parser.add_argument("--precisions", nargs="*", choices=["fp32", "fp16", "int8"])
    parser.add_argument("--small-files", type=Path, default=Path("../shared/hf"))
    parser.add_argument("--batch", type=int, default=8, help="images and reports per batch (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=3, help="timed rounds after one to warm up (default: %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="(default: %(default)s)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    arguments = parser.parse_args()
    precisions = arguments.precisions or (["fp32", "int8"] if arguments.device == "cpu" else ["fp32", "fp16"])
    torch.set_num_threads(arguments.threads)
    rate = matrix_rate(arguments.device)
    figures = {}
    for key in arguments.keys:
        with tempfile.TemporaryDirectory() as folder:
            figures[key] = measure(key, Path(folder), arguments, precisions, rate)
            print(key, figures[key], flush=True)
    write_result(
        "export" if arguments.device == "cpu" else "export_cuda",
        {
            "batch": arguments.batch,
            "threads": arguments.threads,
            "device": arguments.device,
            "matrix_gflop_per_s": round(rate / 1e9, 1),
            "models": figures,
        },
    )


def measure(
    key: str, folder: Path, arguments: argparse.Namespace, precisions: list[str], rate: float
) -> dict[str, Any]:
    """Rates of one model, and time and memory of its export."""
    source = write_full_size_checkpoint(key, arguments.small_files, folder / "checkpoint")
    summary = export_apart(key, source, folder / "home")
    checkpoint = load_checkpoint(source)
    if checkpoint.family != "open_clip":
        checkpoint.model.set_attn_implementation("sdpa")  # type: ignore[operator]  # the default of its library
    for tower in (checkpoint.image_tower, checkpoint.text_tower):
        tower.to(arguments.device)
    bundles = {"fp32": Path(summary["folder"])}
    for precision in [each for each in precisions if each != "fp32"]:
        bundles[precision] = shutil.copytree(bundles["fp32"], folder / precision)
        convert_graphs(bundles[precision], precision)  # type: ignore[arg-type]  # one of the choices

    images = read_images(folder, arguments.batch)
    pixels = ImagePreprocessor(checkpoint.preprocessing).batch(images)
    reports = [REPORT.format(number, number) for number in range(arguments.batch)]
    image_flops = count_flops(checkpoint.image_tower, torch.zeros(1, *pixels.shape[1:], device=arguments.device))
    found: dict[str, Any] = {
        "export_seconds": round(summary["seconds"], 1),
        "export_peak_gb": round(summary["peak_memory_bytes"] / 1e9, 1),
        "parity": summary["parity"],
        "gflop_per_image": round(image_flops / 1e9, 1),
        "floor_images_per_s": round(rate / image_flops, 1),
        "megabytes": {
            name: round(sum(each.stat().st_size for each in path.iterdir()) / 1e6) for name, path in bundles.items()
        },
        "images_per_s": race(image_runs(checkpoint, bundles, pixels, arguments), arguments.batch, arguments.rounds),
        "reports_per_s": race(text_runs(checkpoint, bundles, reports, arguments), arguments.batch, arguments.rounds),
        "query_per_s": race(text_runs(checkpoint, bundles, [QUERY], arguments), 1, 3 * arguments.rounds),
    }
    for what in ("images_per_s", "reports_per_s", "query_per_s"):
        found[what.replace("per_s", "over_torch")] = {
            name: round(value / found[what]["torch"], 2) for name, value in found[what].items() if name != "torch"
        }
    return found


def export_apart(key: str, source: Path, home: Path) -> dict[str, Any]:
    """The JSON summary of `cxr export`, run in a separate process so that its memory is only that of the export."""
    command = [
        sys.executable,
        "-c",
        "from cxr.main import main; main()",
        "export",
        key,
        "--checkpoint",
        str(source),
        "--json",
    ]
    environment = os.environ | {"CXR_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


Runs = dict[str, Callable[[], object]]


def image_runs(checkpoint: Checkpoint, bundles: dict[str, Path], pixels: NDArray[np.float32], arguments: Any) -> Runs:
    """The image tower in torch and in each bundle, on `pixels`."""
    tensor = torch.from_numpy(pixels)
    runs: Runs = {"torch": lambda: run_torch(checkpoint.image_tower, tensor, arguments.device)}
    for name, folder in bundles.items():
        session = OrtSession(folder / IMAGE_GRAPH, device=arguments.device, threads=arguments.threads)
        runs[name] = lambda session=session: session.run("image_embeds", {"pixel_values": pixels})  # type: ignore[misc]
    return runs


def text_runs(checkpoint: Checkpoint, bundles: dict[str, Path], texts: list[str], arguments: Any) -> Runs:
    """The text tower on `texts`, without tokenization: torch with its own padding, each bundle with ours."""
    reference = torch.from_numpy(checkpoint.reference_tokens(texts)["input_ids"])
    tokenization = ModelBundle.load(bundles["fp32"]).manifest.tokenization
    assert tokenization is not None
    runs: Runs = {"torch": lambda: run_torch(checkpoint.text_tower, reference, arguments.device)}
    for name, folder in bundles.items():
        session = OrtSession(folder / TEXT_GRAPH, device=arguments.device, threads=arguments.threads)
        tokens = TextTokenizer(folder / TOKENIZER, tokenization)(texts)
        runs[name] = lambda session=session, tokens=tokens: session.run("text_embeds", tokens)  # type: ignore[misc]
    return runs


def run_torch(tower: torch.nn.Module, inputs: torch.Tensor, device: str) -> NDArray[np.float32]:
    """One batch through `tower`, with the transfers to and from the device."""
    with torch.inference_mode():
        embeds: NDArray[np.float32] = tower(inputs.to(device)).cpu().numpy()
        return embeds


def race(runs: Runs, items: int, rounds: int) -> dict[str, float]:
    """Median items per second of each run. Runs alternate, so that noise of the machine affects all."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + 1):  # the first one warms up
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return {name: round(items / float(np.median(values)), 2) for name, values in seconds.items()}


def count_flops(tower: torch.nn.Module, example: torch.Tensor) -> int:
    """Floating-point operations of one forward pass, multiplication and addition counted separately."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        tower(example)
    return int(counter.get_total_flops())


def matrix_rate(device: str, size: int = 2048) -> float:
    """Floating-point operations per second of a float32 matrix product, the best of ten."""
    one, other = torch.rand(size, size, device=device), torch.rand(size, size, device=device)
    best = float("inf")
    for _ in range(10):
        start = time.perf_counter()
        product = one @ other
        product[0, 0].item()  # waits for a GPU
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


if __name__ == "__main__":
    main()
