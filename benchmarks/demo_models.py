"""The two demo models from scratch: draw phantoms, train, export, measure on phantoms of another seed.

    python -m benchmarks.demo_models

Writes the bundles into `retrieval/bundles/` and the measurements to `benchmarks/results/demo_models.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.pair_retrieval import measure_findings, measure_groups, measure_pairs
from exporters.demo_models import NAMES, config_path
from exporters.export import export_model
from exporters.finetune.progress import ConsoleProgress
from exporters.finetune.run import finetune
from exporters.finetune.settings import load_settings
from ingest.sources.indiana import IndianaSource
from ingest.sources.phantom import write_phantoms
from retrieval.bundle import PACKAGED_DIR, ModelBundle
from retrieval.encoder import Encoder
from retrieval.labels import read_labels
from retrieval.records import Study, studies_of

RESULTS = Path(__file__).parent / "results" / "demo_models.json"
LIMIT_BYTES = 6_000_000

# Studies and seed of each set. `cxr demo` draws seed 0, which no model here has seen either.
TRAIN, VALIDATION, HELD_OUT = (4500, 1), (300, 2), (600, 3)

# What a user would type for each finding of a phantom: Indiana's heads say it their own way round.
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


def main() -> None:
    """Make both models and measure them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--work", type=Path, help="folder that keeps phantoms and checkpoints (default: a temporary one)"
    )
    parser.add_argument("--models", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--measure-only", action="store_true", help="measure the bundles that are there")
    arguments = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        say("drawing phantoms")
        sets = {name: draw(work / "phantoms" / name, *what) for name, what in _sets(arguments.measure_only).items()}
        drawn = time.monotonic() - began
        results: dict[str, Any] = {}
        for name in arguments.models:
            training = {} if arguments.measure_only else make(name, sets["train"], sets["val"], work / name)
            results[name] = training | measure(name, sets["held-out"])
    document = {
        "command": "python -m benchmarks.demo_models",
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpus": os.cpu_count(),
        "phantoms": {"train": TRAIN, "validation": VALIDATION, "held_out": HELD_OUT, "values": "studies, seed"},
        "drawing_seconds": round(drawn, 1),
        "total_seconds": round(time.monotonic() - began, 1),
        "models": _kept(arguments.models) | results,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(document, indent=2))


def draw(folder: Path, studies: int, seed: int) -> list[Study]:
    """The studies of a set of phantoms, drawn where they are not there yet."""
    files = write_phantoms(folder, studies, seed)
    return list(
        studies_of(IndianaSource(files.reports_csv, files.projections_csv, files.images_dir, dataset="phantom"))
    )


def make(name: str, train: list[Study], val: list[Study], checkpoint: Path) -> dict[str, Any]:
    """Train one model and export it into the package."""
    say(f"training {name}")
    with ConsoleProgress() as progress:
        trained = finetune(load_settings(config_path(name)), train, val, checkpoint, progress=progress)
    say(f"exporting {name}")
    exported = export_model(name=name, source=checkpoint, out_dir=PACKAGED_DIR, licence="Apache-2.0", progress=say)
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
    """What the shipped bundle finds among phantoms it has not seen."""
    say(f"measuring {name}")
    bundle = ModelBundle.load(PACKAGED_DIR / name)
    encoder = Encoder(bundle, device="cpu")
    return {
        "bundle_id": bundle.bundle_id,
        "size_bytes": bundle.size_bytes,
        "parity": msgspec.to_builtins(bundle.manifest.parity),
        "findings_frontal": measure_findings(encoder, studies, PROMPTS, findings_of, view="frontal"),
        "findings_all_views": measure_findings(encoder, studies, PROMPTS, findings_of, view=None),
        "reports_grouped": measure_groups(encoder, studies, view="frontal"),
        "reports_by_study": measure_pairs(encoder, studies, view="frontal"),
    }


def findings_of(study: Study) -> frozenset[str]:
    """The findings that are present by the study's MeSH terms; `normal` where the study is indexed as such."""
    labels = read_labels(study.mesh, study.problems)
    return frozenset(labels.present) | (frozenset(["normal"]) if study.mesh == "normal" else frozenset())


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _sets(measure_only: bool) -> dict[str, tuple[int, int]]:
    return {"held-out": HELD_OUT} if measure_only else {"train": TRAIN, "val": VALIDATION, "held-out": HELD_OUT}


def _kept(making: list[str]) -> dict[str, Any]:
    """What stands in the results about models that are not made this time."""
    if not RESULTS.is_file():
        return {}
    models: dict[str, Any] = json.loads(RESULTS.read_text())["models"]
    return {name: scores for name, scores in models.items() if name not in making}


if __name__ == "__main__":
    main()
