"""The ingest worker, its settings and the options that `cxr ingest` and `cxr ingest retry` share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from cxr.settings import read_settings
from ingest.ledger import adopt_ledgers
from ingest.worker import Worker
from retrieval.index.engines import open_index
from retrieval.model.bundle import find_bundle
from retrieval.model.encoder import Encoder
from retrieval.settings import RetrievalSettings

EXIT_QUARANTINED = 3
"""Exit code of an ingest that is complete except for quarantined files."""

ModelOption = Annotated[str, typer.Option("--model", help="An installed model; see `cxr models`.")]
BatchOption = Annotated[int, typer.Option("--batch-size", min=1, max=1024, help="Images encoded in one batch.")]
ThumbnailsOption = Annotated[bool, typer.Option(help="Write thumbnails for the web page.")]
BurnedInOption = Annotated[
    bool,
    typer.Option("--allow-burned-in", help="Accept DICOM files with Burned In Annotation (0028,0301) YES."),
]


def read_ingest_settings(index: str | None, device: str | None = None) -> RetrievalSettings:
    """The settings of the engine. Ledgers that were kept under another name of the same index are adopted first."""
    settings = read_settings(index, device)
    adopt_ledgers(settings.home, settings.index_address, settings.index_location)
    return settings


@contextmanager
def opened_worker(settings: RetrievalSettings, model: str, **options: Any) -> Iterator[Worker]:
    """The worker of `model` on the index of the settings; `options` are those of `Worker`."""
    encoder = Encoder(find_bundle(model, settings.models_dir), device=settings.device, threads=settings.threads)
    index = open_index(settings, patient=True)
    try:
        yield Worker(encoder, index, home=settings.home, public_url=settings.public_url, **options)
    finally:
        index.close()
