"""`cxr demo`: draw phantoms, ingest them with both demo models, run three searches, and serve the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

import cxr.serve
from archives.indiana import IndianaSource
from archives.phantoms import write_phantoms
from cxr.console import print_json
from cxr.hits_table import print_hits
from cxr.options import DeviceOption, IndexOption, JsonOption
from cxr.progress import progress_bar
from cxr.settings import read_settings
from ingest.worker import Worker
from retrieval.catalog import Catalog
from retrieval.index.filters import Filters
from retrieval.model.bundle import find_bundle
from retrieval.model.encoder import Encoder
from retrieval.records import Study, studies_of
from retrieval.search.hits import SearchResult

DEMO_MODELS = ("phantom-siglip", "phantom-clip")
_STUDIES = 600
_SEED = 0


def demo(
    serve: Annotated[bool, typer.Option(help="Serve the web page at the end.")] = True,
    studies: Annotated[int, typer.Option(min=20, max=5000, help="Phantom studies to draw.")] = _STUDIES,
    port: Annotated[int, typer.Option(help="Port of the web page.")] = 8000,
    index: IndexOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw phantoms, ingest them, search, and serve the web page.

    The demo ingests with two small models, runs three searches, and serves the page on 127.0.0.1:8000.

    \b
    cxr demo
    cxr demo --no-serve --json
    """
    settings = read_settings(index, device)
    folder = settings.home / "phantoms" / f"seed{_SEED}-{studies}"
    with progress_bar("Drawing phantoms", "studies") as progress:
        files = write_phantoms(folder, studies, _SEED, progress=lambda done: progress(done, studies))
    source = IndianaSource(files.reports_csv, files.projections_csv, files.images_dir, dataset="phantom")
    ingested = []
    with Catalog(settings) as catalog:
        for name in DEMO_MODELS:
            encoder = Encoder(find_bundle(name, settings.models_dir), device=settings.device, threads=settings.threads)
            with progress_bar(prefix=f"{name}: ") as progress:
                worker = Worker(
                    encoder,
                    catalog.index,
                    home=settings.home,
                    media_dir=settings.media_dir,
                    public_url=settings.public_url,
                )
                ingested.append(worker.run(source, progress=progress).to_dict())
        searches = _example_searches(catalog, list(studies_of(source)))
        active = catalog.active_model()
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
    else:
        for title, result in searches:
            print_hits(result, title)
    if serve:
        cxr.serve.serve(port=port, index=index, device=device)


def _example_searches(catalog: Catalog, studies: Sequence[Study]) -> list[tuple[str, SearchResult]]:
    """One search of each kind, with its title: text with filters, image, stored study."""
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
