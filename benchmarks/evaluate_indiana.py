"""Measures retrieval of a bundle on a split of the Indiana collection: exact pairs, and images with the same finding.

    python -m benchmarks.evaluate_indiana indiana-clip --data ../shared/indiana

Prints one JSON document and writes it to `benchmarks/results/indiana_<bundle>_<split>.json`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, cast

from benchmarks.indiana import add_data_option, indiana_source
from benchmarks.pair_retrieval import measure_likeness, measure_pairs
from benchmarks.result_file import write_result
from retrieval.model.bundle import ModelBundle, find_bundle
from retrieval.model.encoder import Encoder
from retrieval.records import View, studies_of
from retrieval.settings import RetrievalSettings


def main() -> None:
    """Measure the bundle named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", help="name of an installed bundle, or a bundle's folder")
    add_data_option(parser)
    parser.add_argument("--split", default="val")
    parser.add_argument("--view", choices=("frontal", "lateral", "all"), default="frontal")
    arguments = parser.parse_args()
    scores = evaluate(arguments.bundle, arguments.data, arguments.split, arguments.view)
    write_result(f"indiana_{scores['bundle']}_{arguments.split}", scores)


def evaluate(name: str, data: Path, split: str, view: str) -> dict[str, Any]:
    """The scores of bundle `name` on one split of the collection in `data`."""
    folder = Path(name)
    if (folder / "manifest.json").is_file():
        bundle = ModelBundle.load(folder)
    else:
        bundle = find_bundle(name, RetrievalSettings().models_dir)
    encoder, studies = Encoder(bundle), list(studies_of(indiana_source(data, split)))
    wanted: View | None = None if view == "all" else cast(View, view)
    return {
        "protocol": "exact pair; R@K over queries with a relevant item; ties broken on the id",
        "bundle": bundle.name,
        "bundle_id": bundle.bundle_id,
        "precision": bundle.manifest.precision,
        "split": split,
        **measure_pairs(encoder, studies, view=wanted),
        "image_to_image": measure_likeness(encoder, studies, view=wanted),
    }


if __name__ == "__main__":
    main()
