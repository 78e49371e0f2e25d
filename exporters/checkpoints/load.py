"""Loads a checkpoint with the loader of its family."""

from __future__ import annotations

from pathlib import Path

from exporters.checkpoints.checkpoint import Checkpoint
from exporters.checkpoints.location import Family, detect_family, locate_checkpoint
from exporters.checkpoints.open_clip_checkpoint import load_open_clip
from exporters.checkpoints.transformers_checkpoint import load_transformers

_LOADERS = {"clip": load_transformers, "siglip": load_transformers, "open_clip": load_open_clip}


def load_checkpoint(source: str | Path, *, family: Family | None = None, revision: str | None = None) -> Checkpoint:
    """The checkpoint in the folder `source`, or of the hub id `source`.

    The files tell the family. With `family`, another one is an error.

    Raises:
        ExportError: config, tokenizer or weights are missing or do not fit together, or the hub does not answer.
    """
    location = locate_checkpoint(source, revision)
    return _LOADERS[detect_family(location, family)](location)
