"""The root of the command line: mounts each package's commands, and `demo`, the one command that crosses them."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

import exporters.cli
import ingest.cli
import retrieval.cli
import retrieval.evaluation.cli
import service.cli
from retrieval.console import DeviceOption, IndexOption, JsonOption, print_json, progress_bar, read_settings, say
from retrieval.errors import DiskFull, MissingExtra, RetrievalError, SystemFailure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from exporters.export import Sample
    from retrieval.catalog import Catalog
    from retrieval.hits import SearchResult
    from retrieval.records import Study
    from retrieval.settings import RetrievalSettings

app = typer.Typer(
    name="cxr",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

DEMO_MODELS = ("phantom-siglip", "phantom-clip")
_DEMO_STUDIES = 600
_DEMO_SEED = 0

# Packages that only an extra brings, and the extra.
_EXTRA_OF = {
    "gdcm": "dicom",
    "ir_measures": "eval",
    "matplotlib": "eval",
    "onnx": "export",
    "onnxruntime": "cpu",
    "onnxscript": "export",
    "open_clip": "export",
    "pyarrow": "parquet",
    "pydicom": "dicom",
    "torch": "export",
    "transformers": "export",
}


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(version("cxr-retrieval"))
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Similar-case retrieval for chest X-rays. Research use only; not a medical device."""


def main() -> None:
    """Run the command line. Errors of the project end in one line with their code, and exit code 1."""
    os.umask(0o077)  # whatever a command writes, wherever, is for its user alone: it may tell of patients
    try:
        app()
    except RetrievalError as error:
        _fail(error)
    except OSError as error:
        _fail(_named(error))
    except ModuleNotFoundError as error:
        name = (error.name or "").split(".")[0]
        if name not in _EXTRA_OF:
            raise
        extra = _EXTRA_OF[name]
        _fail(MissingExtra(f"this command needs {name}; install it with: pip install 'cxr-retrieval[{extra}]'"))


def _named(error: OSError) -> RetrievalError:
    """What the operating system refuses, with the reason as far as it can be told."""
    import errno
    from pathlib import Path

    from retrieval.disk import free_bytes

    where = f"{error.filename}: " if error.filename else ""
    what = f"{where}{error.strerror or error}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = f"; the disk has {free_bytes(Path(error.filename)) / 1e6:,.0f} MB free" if error.filename else ""
        return DiskFull(f"{what}{free}; free some space and run the command again")
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return SystemFailure(
            f"{what}; this command writes there: let it, or name another folder with CXR_HOME or an option"
        )
    return SystemFailure(what)


def _fail(error: RetrievalError) -> None:
    say(f"error [{error.code}]: {error}")
    if "--json" in sys.argv:
        print_json({"error": {"code": error.code, "message": str(error)}})
    raise SystemExit(1)


def _read_studies(
    reports_csv: Path, projections_csv: Path, images_dir: Path, splits_csv: Path | None, split: str
) -> Sequence[Study]:
    """The studies of an archive in the Indiana form, or of one split of it; exporters may not import ingest."""
    from ingest.sources.indiana import IndianaSource
    from retrieval.evaluation.splits import read_split
    from retrieval.records import Quarantined, studies_of

    uids = read_split(splits_csv, split) if splits_csv else None
    records = list(IndianaSource(reports_csv, projections_csv, images_dir, uids=uids))
    set_aside = [record for record in records if isinstance(record, Quarantined)]
    if set_aside:
        say(f"{len(set_aside)} rows or files of the split {split} are left out; the first: {set_aside[0].detail}")
    return list(studies_of(records))


def _read_sample(folder: Path | None, count: int) -> Sample:
    """`count` frontal images with their reports: of the Indiana archive in `folder`, or phantoms drawn for it."""
    import tempfile
    from pathlib import Path

    from exporters.export import Sample
    from ingest.sources.phantom import write_phantoms
    from retrieval.imaging.decoders import read_image

    with tempfile.TemporaryDirectory() as drawn:
        if folder is None:
            files = write_phantoms(Path(drawn), count, seed=3)
            archive = (files.reports_csv, files.projections_csv, files.images_dir)
        else:
            archive = (folder / "indiana_reports.csv", folder / "indiana_projections.csv", folder / "images")
        studies = _read_studies(*archive, None, "")
        pairs = [
            (image, f"{study.report.findings} {study.report.impression}".strip())
            for study in studies
            for image in study.images
            if image.view == "frontal" and study.report.group
        ]
        # Spread over the archive: neighbours in a table are often of one hospital.
        chosen = pairs[:: max(1, len(pairs) // count)][:count]
        return Sample(
            name=f"{len(chosen)} frontal images of {'drawn phantoms' if folder is None else 'the Indiana archive'}",
            images=[read_image(image.path)[0] for image, _ in chosen],
            texts=[text for _, text in chosen],
        )


class _Archives:
    """What evaluation needs of ingest; see `retrieval.evaluation.jobs.Archives`."""

    def ingest(
        self, data: Path, studies: frozenset[str] | None, model: str, settings: RetrievalSettings, home: Path
    ) -> None:
        from ingest.sources.indiana import IndianaSource
        from ingest.worker import Worker
        from retrieval.bundle import find_bundle
        from retrieval.encoder import Encoder
        from retrieval.index.edge import EdgeIndex

        tables = (data / "indiana_reports.csv", data / "indiana_projections.csv")
        if not tables[0].exists():
            tables = (data / "reports.csv", data / "projections.csv")
        source = IndianaSource(*tables, data / "images", uids=set(studies) if studies is not None else None)
        encoder = Encoder(find_bundle(model, settings.models_dir), device=settings.device, threads=settings.threads)
        index = EdgeIndex(home / "index")
        try:
            Worker(encoder, index, home=home, media_dir=home / "media").run(source)
        finally:
            index.close()

    def build(self, home: Path, location: str, model: str) -> tuple[int, float] | None:
        from ingest.history import build_of

        return build_of(home, location, model)

    def indexed(self, home: Path, location: str, model: str) -> frozenset[tuple[str, str]] | None:
        from ingest.history import indexed_images

        return indexed_images(home, location, model)


retrieval.cli.mount(app)
retrieval.evaluation.cli.mount(app, archives=_Archives())
exporters.cli.mount(app, read_studies=_read_studies, read_sample=_read_sample)
ingest.cli.mount(app)
service.cli.mount(app)


@app.command()
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
    from ingest.sources.indiana import IndianaSource
    from ingest.sources.phantom import write_phantoms
    from ingest.worker import Worker
    from retrieval.bundle import find_bundle
    from retrieval.catalog import Catalog
    from retrieval.cli import print_hits
    from retrieval.encoder import Encoder
    from retrieval.records import studies_of

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
        from service.cli import serve as serve_http

        serve_http(port=port, index=index, device=device)


def _demo_searches(catalog: Catalog, studies: Sequence[Study]) -> list[tuple[str, SearchResult]]:
    """One search of each kind: a text with filters, an image, and a stored study."""
    from retrieval.index.filters import Filters

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


if __name__ == "__main__":
    main()
