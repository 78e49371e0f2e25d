"""`cxr demo`: phantoms drawn, ingested with both demo models, searched three times, and served."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

import cxr.serve
from archives.indiana import IndianaSource
from archives.phantoms import write_phantoms
from cxr.console import DeviceOption, IndexOption, JsonOption, print_json, read_settings
from cxr.progress import progress_bar
from cxr.search import print_hits
from ingest.worker import Worker
from retrieval.catalog import Catalog
from retrieval.index.filters import Filters
from retrieval.model.bundle import find_bundle
from retrieval.model.encoder import Encoder
from retrieval.records import Study, studies_of
from retrieval.search.hits import SearchResult

DEMO_MODELS = ("phantom-siglip", "phantom-clip")
_DEMO_STUDIES = 600
_DEMO_SEED = 0


def demo(
    serve: Annotated[bool, typer.Option(help="Serve the web page at the end.")] = True,
    studies: Annotated[int, typer.Option(min=20, max=5000, help="Phantom studies to draw.")] = _DEMO_STUDIES,
    port: Annotated[int, typer.Option(help="Port of the web page.")] = 8000,
    index: IndexOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw phantoms, ingest them with both demo models, search three times, serve on 127.0.0.1:8000.

    \b
    cxr demo
    cxr demo --no-serve --json
    """
    settings = read_settings(index, device)
    folder = settings.home / "phantoms" / f"seed{_DEMO_SEED}-{studies}"
    with progress_bar("Drawing phantoms", "studies") as progress:
        files = write_phantoms(folder, studies, _DEMO_SEED, progress=lambda done: progress(done, studies))
    source = IndianaSource(files.reports_csv, files.projections_csv, files.images_dir, dataset="phantom")
    ingested = []
    with Catalog(settings) as catalog:
        for name in DEMO_MODELS:
            encoder = Encoder(find_bundle(name, settings.models_dir), device=settings.device, threads=settings.threads)
            with progress_bar(f"Ingesting with {name}") as progress:
                worker = Worker(encoder, catalog.index, home=settings.home, media_dir=settings.media_dir)
                ingested.append(worker.run(source, progress=progress).to_dict())
        searches = _demo_searches(catalog, list(studies_of(source)))
        active = catalog.active_model()
    if not as_json:
        for title, result in searches:
            print_hits(result, title)
    if as_json:
        print_json(
            {
                "home": str(settings.home),
                "studies": studies,
                "active": active,
                "ingested": ingested,
                "searches": [{"query": title} | result.to_dict() for title, result in searches],
            }
        )
    if serve:
        cxr.serve.serve(port=port, index=index, device=device)


def _demo_searches(catalog: Catalog, studies: Sequence[Study]) -> list[tuple[str, SearchResult]]:
    """One search of each kind: a text with filters, an image, and a stored study."""
    first, second = (catalog.retriever(name) for name in DEMO_MODELS)
    text = "cardiomegaly with pleural effusion"
    by_text = first.search_text(text, filters=Filters(none=("Pneumothorax",), view="frontal"), k=3)
    example = next((study for study in studies if "Pneumothorax" in study.problems), studies[0])
    image = next(image for image in example.images if image.view == "frontal")
    others = Filters(exclude_studies=(example.study_id,))
    by_image = second.search_image(image.path, filters=others, k=3)
    by_study = first.search_similar(example.study_id, filters=Filters(dataset=example.dataset), k=3)
    return [
        (f"text: {text} (frontal, without Pneumothorax)", by_text),
        (f"image: {image.image_id} ({example.problems})", by_image),
        (f"similar to study {example.study_id} ({example.problems})", by_study),
    ]
