"""Loads a checkpoint with the loader of its family."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from exporters.checkpoints.checkpoint import Checkpoint
from exporters.checkpoints.location import Family, detect_family, locate_checkpoint
from exporters.checkpoints.open_clip_checkpoint import load_open_clip
from exporters.checkpoints.transformers_checkpoint import load_transformers
from exporters.registry import Lender, lender_of

_LOADERS = {"clip": load_transformers, "siglip": load_transformers, "open_clip": load_open_clip}


def load_checkpoint(
    source: str | Path, *, family: Family | None = None, revision: str | None = None, lender: Lender | None = None
) -> Checkpoint:
    """The checkpoint in the folder `source`, or of the hub id `source`.

    The files tell the family. With `family`, another one is an error. A missing tokenizer or image processor comes from
    `lender`, by default from the one that the registry names for the hub id.

    Raises:
        ExportError: config, tokenizer or weights are missing or do not fit together, or the hub does not answer.
    """
    location = dataclasses.replace(locate_checkpoint(source, revision), lender=lender or lender_of(str(source)))
    return _LOADERS[detect_family(location, family)](location)
