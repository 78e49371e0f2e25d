"""Trains, exports and measures the two demo models.

    python -m benchmarks.demo_models

Draws phantoms, trains on them, and measures on phantoms of another seed. Writes the bundles into `retrieval/bundles/`
and the measurements to `benchmarks/results/demo_models.json`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import msgspec

from archives.indiana import IndianaSource
from archives.phantoms import write_phantoms
from benchmarks.pair_retrieval import measure_findings, measure_groups, measure_pairs
from benchmarks.result_file import FOLDER, write_result
from exporters.export import export_model
from exporters.finetune.progress import NoTrainingProgress
from exporters.finetune.run import finetune
from exporters.finetune.run_files import EpochRecord
from exporters.finetune.settings import load_settings
from retrieval.model.bundle import PACKAGED_DIR, ModelBundle
from retrieval.model.encoder import Encoder
from retrieval.records import Study, studies_of

RESULTS = FOLDER / "demo_models.json"
CONFIGS = Path(__file__).parent / "configs"
NAMES = ("phantom-siglip", "phantom-clip")
LIMIT_BYTES = 6_000_000

# Studies and seed of each set. `cxr demo` draws seed 0, on which no model was trained either.
TRAIN, VALIDATION, HELD_OUT = (4500, 1), (300, 2), (600, 3)

# The query for each finding of a phantom. Indiana's indexing puts the noun first.
PROMPTS = {
    "Cardiomegaly": "cardiomegaly",
    "Pleural Effusion": "pleural effusion",
    "Pneumothorax": "pneumothorax",
    "Nodule": "nodule",
    "Consolidation": "consolidation",
    "Pulmonary Atelectasis": "pulmonary atelectasis",
    "Catheters, Indwelling": "catheters, indwelling",
    "Implanted Medical Device": "implanted medical device",
    "Hernia, Hiatal": "hernia, hiatal",
    "normal": "normal",
}


class EpochLines(NoTrainingProgress):
    """Prints a line for each epoch, because bars of two processes would overwrite each other."""

    def __init__(self, name: str) -> None:
        self._name = name

    def epoch(self, record: EpochRecord) -> None:
        say(
            f"{self._name} epoch {record.epoch}: loss {record.loss:.3f}  {record.images_per_second:.0f} images/s  "
            f"{record.seconds:.0f} s  R@10 image->report {record.validation.image_to_report_r10:.3f}"
        )


def main() -> None:
    """Train both models and measure them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--work", type=Path, help="folder for phantoms and checkpoints, kept (default: a temporary one)"
    )
    parser.add_argument("--models", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--measure-only", action="store_true", help="only measure the existing bundles")
    arguments = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        say("drawing phantoms")
        sets = {name: draw(work / "phantoms" / name, *what) for name, what in _sets(arguments.measure_only).items()}
        drawn = time.monotonic() - began
        made = {} if arguments.measure_only else make_all(arguments.models, sets["train"], sets["val"], work)
        results = {name: made.get(name, {}) | measure(name, sets["held-out"]) for name in arguments.models}
    figures = {
        "phantoms": {"train": TRAIN, "validation": VALIDATION, "held_out": HELD_OUT, "values": "studies, seed"},
        "drawing_seconds": round(drawn, 1),
        "total_seconds": round(time.monotonic() - began, 1),
        "models": _earlier_results(arguments.models) | results,
    }
    write_result(RESULTS.stem, figures)


def draw(folder: Path, studies: int, seed: int) -> list[Study]:
    """The studies of a set of phantoms, which are drawn unless they exist."""
    files = write_phantoms(folder, studies, seed)
    return list(
        studies_of(IndianaSource(files.reports_csv, files.projections_csv, files.images_dir, dataset="phantom"))
    )


def make_all(names: list[str], train: list[Study], val: list[Study], work: Path) -> dict[str, dict[str, Any]]:
    """Train the models in parallel. With such small towers, two processes of one thread are faster than one of two."""
    with ProcessPoolExecutor(len(names), mp_context=get_context("spawn")) as pool:
        jobs = {name: pool.submit(make, name, train, val, work / name) for name in names}
        return {name: job.result() for name, job in jobs.items()}


def make(name: str, train: list[Study], val: list[Study], checkpoint: Path) -> dict[str, Any]:
    """Train one model and export it into the package."""
    say(f"training {name}")
    trained = finetune(load_settings(CONFIGS / f"{name}.json"), train, val, checkpoint, progress=EpochLines(name))
    say(f"exporting {name}")
    exported = export_model(name=name, source=checkpoint, out_dir=PACKAGED_DIR, licence="Apache-2.0")
    if exported.size_bytes > LIMIT_BYTES:
        raise SystemExit(f"{name} has {exported.size_bytes:,} bytes; at most {LIMIT_BYTES:,} are shipped")
    return {
        "training": {
            "parameters": trained.parameters,
            "images": trained.train_images,
            "epochs": trained.epochs,
            "best_epoch": trained.best_epoch,
            "seconds": round(trained.seconds, 1),
        },
        "export_seconds": round(exported.seconds, 1),
    }


def measure(name: str, studies: list[Study]) -> dict[str, Any]:
    """Retrieval by the shipped bundle on phantoms that it was not trained on."""
    say(f"measuring {name}")
    bundle = ModelBundle.load(PACKAGED_DIR / name)
    encoder = Encoder(bundle, device="cpu")
    return {
        "bundle_id": bundle.bundle_id,
        "size_bytes": bundle.size_bytes,
        "parity": msgspec.to_builtins(bundle.manifest.parity),
        "findings_frontal": measure_findings(encoder, studies, PROMPTS, view="frontal"),
        "findings_all_views": measure_findings(encoder, studies, PROMPTS, view=None),
        "reports_grouped": measure_groups(encoder, studies, view="frontal"),
        "reports_by_study": measure_pairs(encoder, studies, view="frontal"),
    }


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _sets(measure_only: bool) -> dict[str, tuple[int, int]]:
    return {"held-out": HELD_OUT} if measure_only else {"train": TRAIN, "val": VALIDATION, "held-out": HELD_OUT}


def _earlier_results(making: list[str]) -> dict[str, Any]:
    """Results of the models that this run does not train."""
    if not RESULTS.is_file():
        return {}
    models: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))["models"]
    return {name: scores for name, scores in models.items() if name not in making}


if __name__ == "__main__":
    main()
