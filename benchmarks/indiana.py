"""Opens the Indiana collection, the data of most benchmarks."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from archives.indiana import IndianaSource
from archives.splits import read_split

FOLDER = Path(os.environ.get("CXR_INDIANA_DIR", "../shared/indiana"))
"""Folder of the collection: `CXR_INDIANA_DIR`, or a folder beside the checkout. It may be missing."""


def add_data_option(parser: argparse.ArgumentParser) -> None:
    """Add the option `--data` for the folder of the collection."""
    parser.add_argument("--data", type=Path, default=FOLDER, help="folder of the collection (default: %(default)s)")


def indiana_source(folder: Path = FOLDER, split: str | None = None) -> IndianaSource:
    """The collection in `folder`, or one split of it by its `splits.csv`."""
    return IndianaSource(
        folder / "indiana_reports.csv",
        folder / "indiana_projections.csv",
        folder / "images",
        uids=read_split(folder / "splits.csv", split) if split else None,
    )
